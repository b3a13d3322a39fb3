"""Predict: a product is made from a model and a scene, or from a generator and random numbers.

Files in reading order: `predict` (the verb), `options` (the options of the user), `planning` (the plan from these
options), `memory_forecast` (the memory of a plan), `output_store` (the arrays of the product), `predictor` (a torch net
as a predictor of `tilespec.tiling`), `averaged_models` (several nets as one); `synth` (the verb), `generator` (a model
of spectra), `filling` (a label map that is filled with them).

Laws: a plan that needs more memory than there is, is refused before any work. An interrupted run is resumed, and gives
the same bytes as an uninterrupted one.
"""
