"""Metrics: sums over blocks, and the figures that are computed from them.

Files: `base` (what a metric is), `table` (the metrics by name), `confusion` (classes, and patches as published),
`channel_errors` (RMSE and more for each channel), `spectral_errors` (the spectrum of each pixel), `variogram`
(structure and noise of a map), `calibration` (means of samples), `seam_jumps` (jumps where tiles meet).

Law: arithmetic only; no file reads a store.
"""
