"""Backends: where the objects of a store lie: in a folder, in a bucket, or where a class of the user's own says.

Files in reading order: `base` (the contract of every kind of place), `folder` and `s3_path` (two kinds), `s3` (the
client of a bucket and what its errors mean), `paths` (URLs, and the table of kinds), `zarr_store` (the store that
records what Zarr puts into it).
"""
