"""Partial least squares from moments: no spectrum is needed, so a scene of any size needs one pass.

Files in reading order: `pls` (the regression), `group_moments` (sums by group of pixels), `cross_validation` (the
number of components), `limits` (of Q and of Hotelling's T2).
"""
