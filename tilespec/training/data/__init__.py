"""Data: the patches that a net is trained on.

Files in reading order: `training_set` (regions and their targets), `targets` (labels or values), `density` (the
probability of each pixel), `patches` (the order of patches), `score_cache` (their pixels in memory), `read_forecast`
(the expected reading), `loader` (threads that prepare batches).
"""
