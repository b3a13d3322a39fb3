"""Augmentation: patches are changed on the device, after the recipe, so that a net sees more than the scene shows.

Files in reading order: `augment` (the table of kinds), `draws` (random numbers of a patch), `geometry`, `spectral` and
`mixing` (the kinds), `targets` (what should be answered is changed alike).

Law: what happens to a patch is a pure function of the seed and of its place in the stream.
"""
