"""Data: the patches, or the whole samples, that a net is trained on.

Files in reading order: `training_set` (regions and their targets), `kinds` (a table of `targets`: labels or values; and
of `references`: numbers of samples), `density` (the probability of each pixel), `patches` and `sample_stream` (their
order), `score_cache` (their pixels in memory), `read_forecast` (the expected reading), `patch_reader` (patches as
batches), `loader` (threads that prepare batches).
"""
