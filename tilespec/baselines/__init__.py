"""Baselines: classical methods, fitted as models with pixelwise nets, and predicted like every model.

Files in reading order: `baseline` (the verb and the table of methods), `base` (the input and the result of a fit),
`options`, `requirements` and `candidate_recipes` (what a fit needs), `labelled_pixels`, `paired_pixels`,
`reference_spectra`, `synthetic_spectra`, `spatial_folds` and `mean_spectra` (the data of a fit); then the methods:
`ndvi`, `sam`, `plsda` (with `pls/` and `diagnostics`), `plsr` (with `sample_regression` and `calibrated_quantity`),
`linear_classifiers`, `kmeans`, `mlp`, `least_squares`.

They are listed beside a network in the table of results, because only the comparison shows whether context helps.
"""
