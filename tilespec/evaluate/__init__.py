"""Evaluate: a product is compared with the truth.

Files in reading order: `evaluate` (the verb), `options` (the counted pixels), `comparison` (a prediction and its
truth), `class_maps` (classes), `channels` and `colours` (values), `metrics/` (the figures), `intervals` and
`bootstrap` (confidence intervals over blocks of the scene), `seams` (jumps at the borders of tiles),
`synthetic_spectra` (tables of a generator).

Laws: one pass over product and truth; each metric is made of sums that blocks add to, in float64 or in integers. Pixels
that are left out are counted. No torch.
"""
