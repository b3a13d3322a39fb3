"""Ranks: processes that learn one model together.

Files in reading order: `group` (the ranks as one of them sees them), `launchers` (who started this process),
`rendezvous` (how ranks find each other), `start` (where ranks run), `processes` (ranks on this machine), `dask_workers`
(ranks beside the workers of a cluster), `shared_memory`, `shared_weights` and `shared_blocks` (what the ranks of one
machine share).

Law: the number of ranks does not change which patches are learned from.
"""
