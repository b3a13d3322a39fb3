"""The help lists what the tables hold: formats, presets, ends of exports; and the version is printed."""

import pytest
import typer

import tilespec
from tilespec.cli import app
from tilespec.ingest.readers.reader_table import READERS
from tilespec.output.export.export import WRITERS
from tilespec.training.presets import presets

CLICK = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    ("verb", "names"),
    [("ingest", [*READERS]), ("export", [*WRITERS]), ("train", [f"preset:{name}" for name in presets()])],
    ids=["formats", "ends", "presets"],
)
def test_the_help_of_a_verb_lists_the_names_of_its_table(verb, names):
    assert [name for name in names if name not in CLICK[verb].help] == []


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        app(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tilespec {tilespec.__version__}\n"
