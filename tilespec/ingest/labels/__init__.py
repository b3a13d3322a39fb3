"""Labels: class maps, and polygons that become class maps.

Files in reading order: `class_map` (a map of any format as uint8, where 255 means unlabelled), `polygons` (GeoJSON,
GeoPackage and shapefiles), `wkb` (their geometries), `rasterise` (polygons drawn on the pixels of a scene).
"""
