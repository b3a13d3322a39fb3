"""Training: from settings to a model.

Files in reading order: `train` (the verb), `options`, `settings` (what can be written), `config` (how it is read),
`setup` (nets, task, objective and recipe together), `data/` (what a net learns from), `objectives/` (how it learns),
`augment/`, `optimisers`, `player`, `schedules`, `loop/` (step after step), `validation/` (how good it is), `run/` (what
is kept), `ranks/` (processes that learn together), `presets/`.

Laws: the patches that a net sees are a pure function of the seed and of the step, whatever the number of ranks and
threads. A training that was interrupted is resumed and ends with the same weights.
"""
