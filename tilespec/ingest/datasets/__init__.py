"""Data sets: published folders; each image becomes a scene of spectra and a scene of its RGB picture.

Files in reading order: `ingest_dataset` (the verb's part and the table of data sets), `members` (one image of a data
set), and one file for each data set: `icvl`, `cave`, `arad`.

To add a data set: write one file with a function ``members`` and add one line to `ingest_dataset.DATASETS`.
"""
