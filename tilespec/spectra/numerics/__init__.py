"""Numerics: arithmetic on many spectra at once, which steps and operators use.

Files: `namespace` (NumPy or torch), `rowwise` (products whose bits do not depend on the row), `hull` (convex hulls),
`whittaker` (smoothing and baselines), `vsn` (weights of bands), `spikes` (cosmic rays), `registration` (shifts along
the bands), `srgb` (the sRGB transfer function), `curve_files` (small text files).

Law: arguments and results are plain arrays; no scene, no recipe.
"""
