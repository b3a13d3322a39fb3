"""Cluster: the places where work can run: this process, others of this machine, a cluster, or joined runs.

Files in reading order: `reduction` (results of blocks, added in a fixed tree), `connect` (a client for `--workers` and
`--cluster`), `submit` (tasks, a few at a time), `shares` (the parts that this run writes, alone or beside
runs that joined), `worker_plugin` (what is set in each worker).

Laws: the number of workers never changes a bit of a result. A task may run twice: what it writes is whole and the same.
"""
