"""Hyperspectral scenes larger than memory: ingest, preprocess, train, predict seamlessly, evaluate.

The verbs of the command line are functions in `tilespec.api`; nouns live in modules of their own
(`tilespec.storage.scene.Scene`, `tilespec.spectra.recipe.Recipe`, `tilespec.models.model.Model`,
`tilespec.tiling.grid.Grid`). Importing this package loads neither torch nor dask.
"""

from importlib.metadata import version

__version__ = version("tilespec")
__all__ = ["__version__"]
