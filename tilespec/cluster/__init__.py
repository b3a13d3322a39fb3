"""Cluster: the places where work can run: this process, processes of this machine, or an existing cluster.

Files in reading order: `reduction` (results of blocks, added in a fixed tree), `connect` (a client for `--workers` and
`--cluster`), `submit` (tasks, a few at a time), `worker_plugin` (what is set in each worker).

Laws: the number of workers never changes a bit of a result. A task may run twice: what it writes is whole and the same.
"""
