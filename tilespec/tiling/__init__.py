"""Tiling: a plane is cut into tiles, and the predictions of tiles are blended to one plane.

Files in reading order: `grid` (the pixels that each tile reads and writes), `windows` (weights and the running mean),
`plan` (a whole prediction as a value), `slab` (rows that are streamed together), `row_reader` (the input of a slab),
`tile_batches` (the calls of a predictor), `blend_rows`, `shared_strips` (rows that two slabs share), `object_rows` (the
written rows), `quarantine` (bad tiles).

Laws: no net and no torch: a predictor is anything that maps tiles to tiles. A pixel is the mean of the same tiles in
the same order whatever the slabs, panels or workers, so the bits are the same.
"""
