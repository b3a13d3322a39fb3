"""Export: a scene, a layer or a prediction becomes a file for other programs.

Files in reading order: `export` (the verb and the table of formats), `options`, `export_source` (what is handed on),
and the
formats: `geotiff`, `envi`, `netcdf`, `png`.

To add a format: write one function ``(exported, path, progress) -> files written`` and add one line to
`export.WRITERS`.
"""
