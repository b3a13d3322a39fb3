"""Validation: scores during a training, on pixels that are not used for training.

Files in reading order: `validation` (one validation, by the predictor of `tilespec predict`), `held_out` (the regions
for it), `scratch_scenes` (these regions after the recipe), `sample_means` (samples instead of regions), `judge`
(validations among ranks), `history` (the scores, and the best of them).
"""
