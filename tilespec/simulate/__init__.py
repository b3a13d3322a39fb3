"""Simulate: a physically based scene of any size, together with its truth.

Files: `simulate` (the verb), `options`, `layout`, `stripes`, `store` and `texture` for all kinds; `samples`,
`sample_layout`, `constituents` and `references` for meat; for `plants`: `plant_layout`, `pots`, `leaf`, `canopy`,
`ground`, `litter` (what stands where), `optics`, `make_optics`, `prospect`, `laws`, `palette` (spectra), `light`,
`block`, `sensor` (light and camera), `raw`, `header` (counts).

Law: each pixel is a pure function of the seed and of its absolute place, so a part of a scene equals the same part of
the whole scene.
"""
