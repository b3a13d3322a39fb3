"""Backends: the kinds of place for the objects of a store: a folder, a bucket, or a class of the user's own.

Files in reading order: `base` (the contract of every kind of place), `folder` and `bucket_path` (two kinds), `buckets`
(the clients of services, and what their errors mean), `paths` (URLs, and the table of kinds), `zarr_store` (the store
that records what Zarr puts into it).
"""
