"""Tiling: how a plane is cut into tiles, and how the answers for tiles become one plane again.

Files in reading order: `grid` (which pixels each tile reads and writes), `windows` (weights and the running mean),
`plan` (a whole prediction as a value), `slab` (rows that are streamed together), `row_reader` (what a slab reads),
`tile_batches` (the calls of a predictor), `blend_rows`, `shared_strips` (rows that two slabs share), `object_rows`
(what is written), `quarantine` (bad tiles).

Laws: no net and no torch: a predictor is anything that maps tiles to tiles. A pixel is the mean of the same tiles in
the same order whatever the slabs, panels or workers, so the bits are the same.
"""
