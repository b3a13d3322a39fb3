"""Probe: measurement of a model's behaviour at the edges of tiles.

Files in reading order: `probe` (the verb), `options`, `sample_windows` (windows of a scene), `receptive_field` (the
theoretical receptive field), `effective_field` (the effective one), `dependency_net` and `narrow_input` (their
measurement), `global_layers` (layers that depend on a whole tile), `seam_forecast` (the expected seams), `advice` (the
tile and the overlap to use).
"""
