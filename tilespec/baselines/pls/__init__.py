"""Partial least squares from moments: nothing here sees a spectrum, so a scene of any size costs one pass.

Files in reading order: `pls` (the regression), `group_moments` (sums by group of pixels), `cross_validation` (how many
components), `limits` (of Q and of Hotelling's T2).
"""
