"""The page about training says what the configuration says: ``python tests/training/test_config_docs.py`` writes it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

from tilespec.cli import app
from tilespec.training.config import resolve
from tilespec.training.settings import Config

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
TABLES = {field.alias or name: field.annotation for name, field in Config.model_fields.items()}
BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->\n"


def written():
    """Return the tables of all keys."""
    return "\n".join(table(name, model) for name, model in TABLES.items())


def table(name, model):
    """Return one table of the configuration: its keys, their defaults, what they do."""
    head = f"### `[{name}]`\n\n{text(model.__doc__.split(chr(10) * 2)[0])}\n"
    if model.model_config.get("extra") == "allow":
        head += f"Further keys are options of the {name} that is named.\n"
    lines = ["", "| key | default | does |", "|---|---|---|"]
    return "\n".join([head, *lines[1:], *(row(key, inner) for key, inner in model.model_fields.items()), ""])


def row(key, field):
    """Return the line of one key."""
    choices = chosen(field.annotation)
    more = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"| `{key}` | {default(field)} | {text(field.description)}{more} |"


def chosen(annotation):
    """Return the words that a key may be, if they are listed."""
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if one is not None]
    return [] if get_origin(annotation) is tuple else [word for one in get_args(annotation) for word in chosen(one)]


def default(field):
    """Return a default as TOML writes it: nothing for None."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump()
        value = value["name"] if set(value) == {"name"} else value
    return "" if value is None or value == {} else f"`{json.dumps(value)}`"


def text(docstring):
    """Return a docstring as Markdown, on one line."""
    return " ".join(docstring.split()).replace("``", "`").replace("|", "\\|")


def test_the_tables_of_keys_are_those_of_the_configuration():
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0] == written(), "run python tests/training/test_config_docs.py"


def test_every_key_is_told_with_what_it_does():
    for name, model in TABLES.items():
        assert [f"{name}.{key}" for key, field in model.model_fields.items() if not field.description] == []
        assert all(f"| `{key}` |" in written() for key in model.model_fields)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_every_configuration_on_the_page_resolves(block):
    tables = tomllib.loads(block)
    given = {"data": {"scene": "s.zarr"}} | tables
    assert resolve(given).model_dump(exclude_none=True)["data"]["scene"]


@pytest.mark.parametrize("line", re.findall(r"^.*tilespec train .*$", PAGE.read_text(), re.MULTILINE))
def test_every_option_and_key_of_a_command_on_the_page_exists(line):
    command = typer.main.get_command(app).commands["train"]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<=\s)--[a-z-]+", line.partition("tilespec train ")[2])) <= known
    keys = {f"{name}.{key}" for name, model in TABLES.items() for key in model.model_fields}
    assert keys >= set(re.findall(r"--set ([a-z_.]+)=", line))


def test_every_key_that_the_page_speaks_of_exists():
    told = set(re.findall(rf"`({'|'.join(TABLES)})\.([a-z_]+)", PAGE.read_text()))
    assert [f"{name}.{key}" for name, key in sorted(told) if key not in TABLES[name].model_fields] == []


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + written() + END + rest.partition(END)[2])
