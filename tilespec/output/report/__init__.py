"""Report: one HTML page, complete in itself, about scenes, recipes, models and predictions.

Files in reading order: `page` (the verb, and the only place where text becomes HTML), `options`, `inputs` (what each
path is), `page_parts` (parts as values), then what is shown: `overview`, `recipes`, `training`, `scores`, `maps`,
`detail`, `reconstruction` (with `reconstructed` and `metamer_pairs`), `chemmap` (with `quantity_maps`), `synthesis`,
`state`, `provenance`; and how it is drawn: `figures`, `plots`. The layout lies in `templates/`.

Law: text from users is always escaped, and nothing in a folder is executed.
"""
