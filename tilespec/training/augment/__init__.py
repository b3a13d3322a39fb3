"""Augmentation: patches are changed at random on the device, after the recipe, to add variety to the training.

Files in reading order: `augment` (the table of kinds), `draws` (random numbers of a patch), `geometry`, `spectral` and
`mixing` (the kinds), `target_planes` (the equal change of targets).

Law: the change of a patch is a pure function of the seed and of the patch's position in the stream.
"""
