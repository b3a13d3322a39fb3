"""Numerics: arithmetic on many spectra at once that steps and operators are built of.

Files: `namespace` (NumPy or torch), `rowwise` (products whose bits do not depend on the row), `hull` (convex hulls),
`whittaker` (smoothing and baselines), `vsn` (weights of bands), `srgb` (how a picture stores light), `curve_files`
(small text files).

Law: plain arrays in, plain arrays out; no scene, no recipe.
"""
