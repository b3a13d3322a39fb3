"""Training: a model is trained by settings on labelled scenes.

Files in reading order: `train` (the verb), `options`, `settings` (what can be written), `config` (how it is read),
`setup` (nets, task, objective and recipe together), `data/` (what a net learns from), `objectives/` (how it learns),
`augment/`, `optimisers`, `player`, `schedules`, `loop/` (step after step), `validation/` (how good it is), `run/` (what
is kept), `ranks/` (processes that learn together), `presets/`.

Laws: the patches are a pure function of the seed and of the step, whatever the number of ranks and threads. An
interrupted training is resumed and ends with the same weights.
"""
