"""Export: a scene, a layer or a prediction becomes a file for other programs.

Files in reading order: `export` (the verb and the table of formats), `options`, `export_source` (what is handed on),
the rasters `geotiff`, `envi`, `netcdf`, `png`, and `polygons` of the regions of classes, which `class_regions` finds
and `boundary` traces strip by strip.

To add a format: write one function ``(exported, path, progress) -> files written`` and add one line to
`export.FORMATS`.
"""
