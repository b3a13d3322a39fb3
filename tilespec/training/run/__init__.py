"""Run: what is kept of a training.

Files in reading order: `run_folder` (settings, result and model), `checkpoint` (all that is needed to go on), `log`
(what a training says about itself).

Law: each file is replaced whole or not at all.
"""
