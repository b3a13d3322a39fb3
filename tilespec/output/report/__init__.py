"""Report: one HTML page, complete in itself, about scenes, recipes, models and predictions.

Files in reading order: `page` (the verb, and the only module that writes HTML), `inputs` (the kinds of the paths),
`page_parts` (parts as values), then the sections: `overview`, `recipes`, `training`, `scores`, `maps`, `detail`,
`reconstruction` (with `reconstructed` and `metamers`), `state`, `provenance`; and the graphics: `pictures`, `plots`.
The layout lies in `templates/`.

Law: text from users is always escaped, and nothing in a folder is executed.
"""
