"""Data: the patches that a net learns from.

Files in reading order: `corpus` (regions and what should be answered there), `targets` (labels or values), `density`
(how likely each pixel is drawn), `patches` (which patch comes when), `score_cache` (their pixels, kept in memory),
`read_forecast` (what will be read), `loader` (threads that prepare batches).
"""
