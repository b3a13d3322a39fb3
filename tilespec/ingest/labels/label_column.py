"""Label column: the column of a table of spectra that ``--labels`` names."""

from dataclasses import replace
from pathlib import Path

from tilespec.core.errors import UserError
from tilespec.ingest.readers.source import Facts, SourceLayer
from tilespec.ingest.readers.spectra_text import beside_name, layer_name
from tilespec.storage.columns import NAMES


def label_column(text: str | None, facts: Facts) -> SourceLayer | None:
    """Return the column, or the layer, that ``--labels`` names by its header or its name in a store; None: a file.

    Raises:
        UserError: there is a file of this name too, or neither a file nor a column.
    """
    if text is None or not (facts.table or facts.layers):
        return None
    columns = {NAMES.get(layer.name, layer.name): layer for layer in facts.layers}
    file = Path(text).exists() or (":" in text and Path(text.rpartition(":")[0]).exists())
    column = columns.get(text) or columns.get(NAMES.get(layer_name(text), layer_name(text)))
    if file and text in columns:
        found, do = f"{text}, a column and a file too", f"Write ./{text} for the file, or rename it."
    elif not (file or column):
        found, do = f"neither a file nor a column {text}", "Check the path, or the header of the column."
    else:
        return None if file else column
    raise UserError("--labels", found=found, expected=f"a file, or one of {', '.join(columns) or 'no columns'}", do=do)


def without(column: SourceLayer | None, layers: tuple[SourceLayer, ...]) -> tuple[SourceLayer, ...]:
    """Return the layers beside a label column; classes that were there before become a column of another name."""
    if column is None:
        return layers
    others = [layer for layer in layers if layer.name != column.name]
    beside = beside_name(layer.name for layer in others)
    return tuple(replace(layer, name=beside) if layer.name == "labels" else layer for layer in others)
