"""Simulate: a physically based plant scene of any size, together with its truth.

Files in reading order: `simulate` (the verb), `options`, `plant_layout`, `pots`, `leaf`, `canopy`, `ground`, `litter`
and `texture` (what stands where), `optics`, `prospect`, `laws` and `palette` (its spectra), `light`, `block` and
`sensor` (light and camera), `stripes`, `store`, `raw` and `header` (how it is written). `make_optics` made the shipped
table.

Law: each pixel is a pure function of the seed and of its absolute place, so a part of a scene equals the same part of
the whole scene.
"""
