"""Ranks: processes that train one model together.

Files in reading order: `group` (the ranks as one of them sees them), `launchers` (the program that started this
process), `rendezvous` (the connection between ranks), `start` (the place of each rank), `processes` (ranks on this
machine), `dask_workers` (ranks beside the workers of a cluster), `shared_memory`, `shared_weights` and `shared_blocks`
(the memory that ranks of one machine share).

Law: the number of ranks does not change the patches of a step.
"""
