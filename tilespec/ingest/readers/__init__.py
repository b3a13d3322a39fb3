"""Readers: one file for each format; each returns a `Source`.

Files: `reader_table` (the reader for a path), `source` (the result of a reader), then the formats: `envi` (with
`envi_header`, `envi_fields` and `hyspex`), `raster`, `image` (with `image_light`), `matlab`, `hdf5`, `netcdf` (with
`cf_grid`), `emit`, `prisma`, `neon`, `arrays`; and shared modules: `containers`, `wavelengths`, `georeference`,
`gaps`.

To add a format: write one file with a function ``(path, options) -> Source`` and add one line to
`reader_table.READERS`.
"""
