"""Study: many trainings and baselines, each scored on scenes that were not used for training.

Files in reading order: `study` (the verb), `options`, `variants` (which settings are compared), `splits` (which scenes
teach and which are judged), `run` (one training, and what is done already), `table` (means and spreads).

Law: finished results are stored, so the same command resumes an interrupted study.
"""
