"""Output: tables, files for other programs, and pages are written from stores and folders.

Files: `measure/` (a table of plants, polygons or regions), `export/` (GeoTIFF, ENVI, NetCDF, PNG), `report/` (one HTML
page), `view/` (a page in the browser), `pictures` (false colour and the colours of classes).

Laws: all results are read from stores and folders, never computed again by a model; no torch.
"""
