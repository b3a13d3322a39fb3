"""Measure: one row of figures for each plant, polygon or region of a scene.

Files in reading order: `measure` (the verb), `job` (the checked measurement), `object_masks` (the pixels of each
object), `connected_regions`, `indices` (vegetation indices), `object_sums` (sums for each object), `csv_table` (the
written table).
"""
