"""Core: what every other room uses: values, errors, tables of names, progress, memory and threads.

Files in reading order: `types` (regions, spectral axes, kinds of tiles), `errors` (messages to a user), `registry`
(tables of plug-ins and their options), `options` (of verbs), `fingerprint` (the hash of settings), `progress`, `memory`
(peak memory, budgets), `cache` and `buffers` (memory that is reused), `cpu` (cores and BLAS threads), `threads`
(pipelines), `signals` (Ctrl-C).

Laws: nothing here knows scenes, reads a store or loads torch or Dask. Every other room may import this one.
"""
