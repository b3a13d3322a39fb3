"""Ingest: files of any known format are converted to scenes.

Files in reading order: `ingest` (the verb), `options`, `request` (everything that is checked before the first byte is
written), `readers/` (formats), `calibration/` (from counts to reflectance), `labels/` (class maps and polygons),
`binning`, `encode` (values), `write` and `row_writer` (writing), `flight_lines` (many files at once), `datasets/`
(published data sets), `info` (the verb that describes a file or a store).

Laws: memory is bounded whatever the size of the file. A mistake in the input is named before anything is written.
"""
