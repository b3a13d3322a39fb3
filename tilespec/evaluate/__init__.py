"""Evaluate: a product is compared with the truth.

Files in reading order: `evaluate` (the verb), `options` (which pixels count), `comparison` (what is compared with
what), `class_maps` (classes), `channels` and `colours` (values), `metrics/` (what is computed), `intervals` and
`bootstrap` (confidence intervals over blocks of the scene), `seams` (jumps at the borders of tiles).

Laws: one pass over product and truth; each metric is made of sums that blocks add to, in float64 or in integers. What
is left out is counted. No torch.
"""
