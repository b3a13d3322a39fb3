"""Run: the files of a training.

Files in reading order: `run_folder` (settings, result and model), `checkpoint` (the state for a resume), `log` (the log
of the steps).

Law: each file is replaced completely or not at all.
"""
