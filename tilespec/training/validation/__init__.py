"""Validation: a training is judged while it goes on, on pixels that it never learns from.

Files in reading order: `validation` (one judgement, by the predictor that users get), `held_out` (the regions for it),
`scratch_scenes` (these regions after the recipe), `judge` (validations among ranks), `history` (what came out, and
which was best).
"""
