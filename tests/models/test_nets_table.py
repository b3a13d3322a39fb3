"""The page about training names every net that learns, with its parameters and their defaults."""

import inspect
import re

from locations import ROOT

from tilespec.core.registry import load
from tilespec.models.nets import NETS

PAGE = ROOT / "docs" / "training.md"
FITTED = {"identity", "ndvi", "linear", "sam", "mlp", "polynomial", "rbf", "interval", "adopted", "opened"}
"""Nets that `baseline` and `adopt` fit, or that stand around others."""


def rows():
    """Return the cells of each line of the table of nets, by the name of the net."""
    part = PAGE.read_text().partition("## Nets\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def default(parameter):
    """Return the default as it stands in the table: nothing if the parameter has to be given."""
    return "" if parameter.default is inspect.Parameter.empty else str(parameter.default)


def test_the_table_has_every_net_that_learns():
    assert set(rows()) == set(NETS) - FITTED


def test_the_parameters_and_their_defaults_are_those_of_the_nets():
    for name, cells in rows().items():
        told = dict(re.findall(r"`(\w+)=([^`]*)`", cells[0]))
        parameters = inspect.signature(load(NETS, name, "net")).parameters.values()
        there = {p.name: default(p) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        assert told == there, name
