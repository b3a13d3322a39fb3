"""Storage: scenes are read here, and products are written here, once and resumably.

Files in reading order: `layout` (how arrays are laid out), `group` (a store, opened), `layer` (one array of it, read),
`scene` (one Zarr store, read), `product` (one store, written row by row), `ledger` (which rows are done), `files`
(small files, replaced whole), `stored_objects` (sizes and hashes), `heartbeat`, `lease`, `joined` and `lock` (one run
at a time, or several that joined), `audit` (the verbs `status` and `verify`), `blocks` (pieces for reading),
`chunk_reader` and `chunk_writer` (stored objects without Zarr), `rasters` and `selection` (maps beside a cube),
`references` and `samples` (measured numbers, and the pixels that they belong to), `backends/`.

Laws: an object is written whole or not at all, and recorded only after it is written. A record names the size and the
hash of each object. A product is resumed only with the settings that it was begun with. A part has one writer.
"""
