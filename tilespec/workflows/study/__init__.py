"""Study: many trainings and baselines, each scored on scenes that were not used for training.

Files in reading order: `study` (the verb), `options`, `variants` (the compared settings), `splits` (training scenes and
test scenes), `pixel_splits` (parts of their labels), `augmentation` (what classifiers learn from besides), `run` (one
training, and the results so far), `result_table` (means and spreads).

Law: finished results are stored, so the same command resumes an interrupted study.
"""
