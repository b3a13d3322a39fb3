"""Report: one self-contained HTML page with pictures about scenes, recipes, models and predictions.

``runs`` finds out what each RUN is, ``overview`` reads a scene once, ``maps`` compares class maps, ``plots`` draws,
``sections`` says what goes where, and ``page`` renders it.
"""

from tilespec.report.page import report

__all__ = ["report"]
