"""Models: what predicts: a net, a task and a recipe, kept together in one folder.

Files in reading order: `model` (the folder), `tensors` (weights, read and checked), `nets/` (networks), `tasks/` (what
is predicted), `probe/` (what a net does at the edges of tiles), `frozen_norms` (norms with the statistics of a whole
scene), `determinism` (whether bits depend on the batch).

Laws: nothing in a model folder is executed. A net says what kind of tiles it needs, or that is measured.
"""
