"""Output: what leaves tilespec: tables, files for other programs, and a page to read.

Files: `measure/` (a table of plants, polygons or regions), `export/` (GeoTIFF, ENVI, NetCDF, PNG), `report/` (one HTML
page), `pictures` (false colour and the colours of classes).

Laws: what is written here is read from stores and folders, never computed again by a model; no torch.
"""
