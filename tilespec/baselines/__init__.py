"""Baselines: classical methods, fitted as models with nets that look at one pixel, and predicted like every model.

Files in reading order: `baseline` (the verb and the table of methods), `base` (what a method is given and what it
returns), `options`, `labelled_pixels`, `paired_pixels`, `reference_spectra` and `spatial_folds` (what methods learn
from); then the methods: `ndvi`, `sam`, `plsda` (with `pls/` and `diagnostics`), `linear_classifiers`, `kmeans`, `mlp`,
`regression`.

They stand beside a network in the table of results: without them nobody knows whether context helps.
"""
