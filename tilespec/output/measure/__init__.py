"""Measure: one row of figures for each plant, polygon or region of a scene.

Files in reading order: `measure` (the verb), `options`, `job` (what is measured, checked beforehand), `object_masks`
(which pixels belong to which object), `connected_regions`, `indices` (vegetation indices), `object_sums` (sums for each
object), `outlines` (their shapes), `csv_table` (how it is written), `numbered_picture`; `numbers_of_samples` (means of
maps of numbers).
"""
