"""Simulate: a physically based plant scene of any size, with its truth.

Geometry (`layout`, `leaf`, `canopy`, `ground`, `texture`), spectra (`optics`, `prospect`, `laws`, `palette`), light and
camera (`light`, `block`, `sensor`), and how it is stored (`stripes`, `store`, `raw`, `header`).
"""

from tilespec.simulate.verb import simulate

__all__ = ["simulate"]
