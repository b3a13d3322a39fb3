"""Backends: the two kinds of place for the objects of a store, a folder or a bucket.

Files in reading order: `paths` (one way to name a place in either), `s3` (the client of a bucket and what its errors
mean), `zarr_store` (what Zarr is given, and the store that records what is put into it).
"""
