"""Polygons and the GeoJSON files that hold them."""

import json


def square(x0, y0, x1, y1):
    return {"type": "Polygon", "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]}


def collection(*features, crs="pixel", **more):
    """Return a collection of (geometry, properties)."""
    made = [{"type": "Feature", "geometry": g, "properties": p} for g, p in features]
    return {"type": "FeatureCollection", "features": made, **({} if crs is None else {"crs": crs}), **more}


def saved(folder, document, name="labels.geojson"):
    (folder / name).write_text(json.dumps(document))
    return folder / name
