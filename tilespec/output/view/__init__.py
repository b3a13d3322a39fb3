"""View: stores in the browser, served on this machine alone.

Files in reading order: `view` (the verb), `options`, `server` (what each address answers), `access` (who may ask),
`stores` (what is open, and its description), `layers` (tiles of pictures), `spectra` (pixels and regions as numbers),
`draw` (labels from polygons and strokes). The page lies in `static/`, with OpenSeadragon and uPlot and their licences.

Laws: no store is changed but the labels that a page draws; text of users reaches the page as JSON and becomes text
there, never HTML.
"""
