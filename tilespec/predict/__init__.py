"""Predict: a model and a scene become a product.

Files in reading order: `predict` (the verb), `options` (what a user may ask for), `planning` (from these to a plan),
`memory_forecast` (how much memory it takes), `output_store` (the arrays of the product), `predictor` (where torch meets
`tilespec.tiling`).

Laws: a plan that needs more memory than there is, is refused before any work. A run that was interrupted is resumed,
and the bytes are those of a run that was not.
"""
