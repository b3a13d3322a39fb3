"""Study: many trainings and baselines, each judged on scenes that it has not seen.

Files in reading order: `study` (the verb), `options`, `variants` (which settings are compared), `splits` (which scenes
teach and which are judged), `run` (one training, and what is done already), `table` (means and spreads).

Law: what is done is kept, so the same command goes on where it was interrupted.
"""
