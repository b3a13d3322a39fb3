"""Training: a model is trained by settings on labelled scenes.

Files in reading order: `train` (the verb), `options`, `settings` (the keys of the configuration), `config` (the reading
of the configuration), `setup` (nets, task, objective and recipe together), `data/` (the patches and their targets),
`objectives/` (the losses), `augment/`, `optimisers`, `player`, `schedules`, `loop/` (the steps), `validation/` (the
scores during the training), `run/` (the files of a training), `ranks/` (processes that train together), `presets/`.

Laws: the patches are a pure function of the seed and of the step, whatever the number of ranks and threads. An
interrupted training is resumed and ends with the same weights.
"""
