"""An option is declared once: a field of a dataclass makes the keyword, the signature and the help of its verb."""

import dataclasses
import inspect
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from command_line import tilespec
from typer.testing import CliRunner

from tilespec import api
from tilespec.cli import app
from tilespec.cli.shared import function_of
from tilespec.cli.verbs import COMMANDS
from tilespec.core.options import Region, Workers, options_of, values_of, with_options
from tilespec.core.progress import Progress, Silent

CLICK = typer.main.get_command(app).commands
WITH_OPTIONS = [command for command in COMMANDS if command.options]
OWN = {"as_json", "quiet", "log", "help"}
"""What every command has, and no verb."""
VERB = re.compile(
    r"\b(is|are|has|have|lie|lies|comes?|gives?|names?|takes?|turns|reflects|means|goe?s?|shares?|stays|counts?|runs?|adds?"
    r"|stores?|writes?|keeps?|interpolate|reads?|average|fits?|predict|computes|uses?|checks?|decides?|divides?|remove"
    r"|enter|get|grow|lists?|answers|replace|be|make|leaves?|train|test|form|choose)\b"
)
"""Verbs: without one, the first words under a field are no sentence."""


def help_of(option):
    """Return what the help says of an option: its first sentence, and its default where it has one to show."""
    if option.default is inspect.Parameter.empty:
        return f"{option.help}  [required]"
    hidden = option.default is None or option.default is False or option.default == ()
    return option.help if hidden else f"{option.help}  [default: {option.default}]"


def test_the_table_of_commands_is_the_table_of_verbs():
    assert sorted(command.name for command in COMMANDS) == sorted(CLICK)
    assert sorted(map(function_of, CLICK)) == sorted(api.VERBS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_a_command_is_one_that_it_takes(command):
    context = CLICK[command.name].make_context(command.name, shlex.split(command.example))
    assert not context.args
    assert f"tilespec {command.name} {command.example}" in " ".join(CLICK[command.name].get_help(context).split())


def test_the_help_lists_each_command_once_under_a_heading():
    said = tilespec("--help").stdout
    for command in COMMANDS:
        assert len(re.findall(rf"^  {command.name}  ", said, re.MULTILINE)) == 1
        assert f"\n{command.group}:\n" in said


def test_a_shell_completes_verbs_and_options(monkeypatch):
    monkeypatch.setenv("_TILESPEC_COMPLETE", "complete_bash")
    for words, count, found in (("tilespec pre", 1, "preview\npredict"), ("tilespec predict --prec", 2, "--precision")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(count))
        said = CliRunner().invoke(app, prog_name="tilespec")
        assert said.stdout.strip() == found


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_each_option_is_in_the_help_once_with_its_default_and_no_other_is(command):
    parameters = [p for p in CLICK[command.name].params if p.param_type_name == "option" and p.name not in OWN]
    flags = [flag for parameter in parameters for flag in parameter.opts]
    arguments = [argument.flag for argument in command.arguments if argument.flag]
    options = [option for option in command.declared if option.flag]
    assert flags == [*arguments, *(option.flag for option in options)]
    context = typer.Context(CLICK[command.name])
    records = {parameter.name: parameter.get_help_record(context) for parameter in parameters}
    for option in options:
        shown, text = records[option.name]
        assert shown.partition(" ")[0] == option.flag
        assert text == help_of(option)


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_the_signature_and_the_documentation_of_a_verb_come_from_its_options(command):
    verb = getattr(api, function_of(command.name))
    signature, options = inspect.signature(verb), command.declared
    by_name = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in by_name] == [*((o.name, o.default) for o in options), ("progress", None)]
    kind = inspect.signature(verb.__wrapped__).parameters["options"].annotation
    assert {o.name for o in options} == {field.name for field in dataclasses.fields(kind)}
    assert options == options_of(kind)
    assert all(f"    {option.name}: {option.text}" in inspect.getdoc(verb) for option in options)
    assert len(inspect.signature(verb.__wrapped__).parameters) <= 6
    positional = {name for argument in command.arguments for name in argument.read(command.name, ["a", "b", "c"])}
    assert positional == set(signature.parameters) - {p.name for p in by_name}


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_what_stands_under_a_field_are_full_sentences(command):
    for option in command.declared:
        assert re.fullmatch(r"[A-Z`].*\.", option.text), option
        assert VERB.search(option.help.lower()), option


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_a_verb_refuses_an_unknown_option_by_the_names_of_the_known_ones(command):
    name = function_of(command.name)
    with pytest.raises(TypeError, match=rf"{name}\(\) has no option 'tiel'; options are .*{command.declared[0].name}"):
        getattr(api, name)("in", "out", tiel=3)


def test_the_help_of_all_verbs_loads_no_heavy_library():
    code = """import sys; from tilespec.cli.verbs import COMMANDS; [command.typer_command for command in COMMANDS]
print(sorted({"numpy", "torch", "dask", "zarr", "scipy", "pydantic"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_start_loads_the_options_of_no_verb():
    code = "import sys, tilespec.cli; print([name for name in sys.modules if name.endswith('.options')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded == "['tilespec.core.options']\n"


@dataclass(frozen=True, kw_only=True)
class Colours:
    """Options of a verb of this test."""

    colour: str | None = None
    """The map is painted in this colour."""
    layers: int = 1
    """The map has this many layers. One is
    enough."""


@dataclass(frozen=True, kw_only=True)
class Painting(Colours, Region, Workers):
    """Options of a verb of this test, some of which decide its bytes."""

    varnish: bool = False
    """Varnish the map."""


@with_options(Painting)
def paint(scene: str, out: str, options: Painting, progress: Progress) -> dict:
    """Paint a map."""
    return {"scene": scene, "out": out, "options": options, "progress": progress}


def test_options_of_a_verb_come_before_those_that_verbs_share():
    names = [option.name for option in options_of(Painting)]
    assert names == ["colour", "layers", "varnish", "rows", "cols", "workers", "cluster"]
    assert [option.flag for option in options_of(Painting)][-2:] == ["--workers", "--cluster"]
    assert options_of(Painting)[1].text == "The map has this many layers. One is enough."
    assert options_of(Painting)[1].help == "The map has this many layers."


def test_a_verb_gets_its_options_as_one_value():
    result = paint("a", out="b", layers=2, colour=Path("red.csv"))
    assert result["options"] == Painting(layers=2, colour="red.csv")
    assert isinstance(result["progress"], Silent)
    assert paint("a", "b", colour=0.5)["options"].colour == "0.5"
    assert values_of(result["options"], Colours) == {"colour": "red.csv", "layers": 2}


def test_arguments_are_checked_as_python_does():
    with pytest.raises(TypeError, match="missing a required argument: 'out'"):
        paint("a")
    with pytest.raises(TypeError, match="too many positional"):
        paint("a", "b", "c")
