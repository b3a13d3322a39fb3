"""Probe: what a model does at the edges of tiles, measured.

Files in reading order: `probe` (the verb), `options`, `inputs` (windows of a scene), `receptive_field` (how far a pixel
reaches), `effective_field` (how far it reaches in practice), `dependency_net` and `narrow_input` (how that is
measured), `global_layers` (layers that see a whole tile), `seam_forecast` (the seams to expect), `advice` (the tile and
the overlap to use).
"""
