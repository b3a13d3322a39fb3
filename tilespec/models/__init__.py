"""Models: a model predicts with a net, a task and a recipe, which one folder contains.

Files in reading order: `model` (the folder), `tensors` (weights, read and checked), `nets/` (networks), `tasks/` (the
quantity that is predicted), `ensemble` (several models as one), `adopt/` (models that were not trained here), `probe/`
(the behaviour of a net at the edges of tiles), `frozen_norms` (norms with the statistics of a whole scene),
`determinism` (whether bits depend on the batch).

Laws: nothing in a model folder is executed. A net declares the kind of tiles that it needs, or that is measured.
"""
