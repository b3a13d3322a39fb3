"""Spectra: from measured spectra to the values that a model reads.

Files in reading order: `bands` (which bands there are), `operators` (what a fitted recipe does; `level_operators` and
`raman_operators` hold some of them), `steps/` (what a user asks for), `recipe` (the fitted value), `pieces` (operators
over blocks of spectra), `statistics` (sums that blocks add to), `passes` (a sample, or every pixel, of scenes),
`fit_pass` (one pass and its check in float64), `fit` and `transform` (the verbs, with their `options`), `scale_check`
(are two scenes on one scale?), `estimators` (for scikit-learn), `numerics/` and `colour/`.

Laws: a recipe looks at one pixel at a time, so the result for a pixel has the same bits however the scene is cut. A
pixel with NaN in a band that is used is NaN in all bands. Applying a fitted recipe never looks at other data.
"""
