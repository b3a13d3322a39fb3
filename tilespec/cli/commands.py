"""Commands: a verb of the command line is made from its arguments and from the dataclass of its options."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, cast, final, get_args, get_origin

import typer
from typer.core import TyperCommand

from tilespec.api import VERBS
from tilespec.cli.shared import answer, fail, function_of, logged, pairs, run
from tilespec.core.errors import EXIT_USER
from tilespec.core.options import Option, options_of
from tilespec.core.progress import Lines, Several, Silent
from tilespec.core.registry import import_object

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress on stderr.")]
Log = Annotated[str | None, typer.Option("--log", help="Append progress and errors to FILE.", metavar="FILE")]
KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Argument:
    """An argument of a verb: it has a place on the command line, or a name if it has a flag."""

    name: str
    """The argument has this name in Python."""
    help: str | None = None
    """The help of the command says this of it."""
    metavar: str | None = None
    """The help shows this in its place; None: its name."""
    flag: str | None = None
    """The command line names it so; None: it has a place."""
    default: str | None = None
    """The argument has this value when nobody gives one; None: it must be given."""
    kind: Any = str
    """The values of the command line have this type."""
    optional: bool = False
    """Whether it may be left out, and is then None."""

    def parameter(self) -> inspect.Parameter:
        """Return the parameter from which typer makes it."""
        placed = typer.Argument(help=self.help, metavar=self.metavar)
        info = typer.Option(self.flag, help=self.help) if self.flag else placed
        default = None if self.optional else self.default or inspect.Parameter.empty
        kind = self.kind | None if self.optional else self.kind
        return inspect.Parameter(self.name, KEYWORD, annotation=Annotated[kind, info], default=default)

    def read(self, verb: str, value: Any) -> dict[str, Any]:
        """Return the arguments of the verb that a value of the command line is."""
        del verb
        return {self.name: value}


@final
@dataclass(frozen=True)
class SeveralThenOut(Argument):
    """Several values and then OUT, as in ``SCENE... OUT``: two arguments of the verb."""

    kind: Any = list[str]
    """All of them."""
    single: bool = False
    """Whether a single value is itself and not a list, and none at all is a mistake."""

    def read(self, verb: str, value: Any) -> dict[str, Any]:
        """Return both arguments."""
        *several, out = value
        if self.single and not several:
            fail(f"tilespec {verb}: found one path; expected {self.metavar}. Give the output last.", EXIT_USER)
        return {self.name: several[0] if self.single and len(several) == 1 else several, "out": out}


@final
@dataclass(frozen=True)
class ModelsThenScenes(Argument):
    """``MODEL... SCENE... OUT``, three arguments: the first path, and further folders with a card, are models."""

    kind: Any = list[str]
    """All of them."""

    def read(self, verb: str, value: Any) -> dict[str, Any]:
        """Return all arguments; a single model or scene is itself and not a list."""
        from tilespec.storage.backends.paths import store_path

        *several, out = value
        count = next((i for i, path in enumerate(several) if i and not (store_path(path) / "model.json").tag()), None)
        if count is None:
            fail(f"tilespec {verb}: found no scene; expected {self.metavar}. Give the output last.", EXIT_USER)
        named = {"model": several[:count], "scene": several[count:]}
        return {name: paths[0] if len(paths) == 1 else paths for name, paths in named.items()} | {"out": out}


@final
@dataclass(frozen=True)
class Command:
    """A verb of the command line."""

    name: str
    """The name of the verb, whose words have hyphens between them; a blank after the name of a group of verbs."""
    help: str
    """What it does."""
    arguments: tuple[Argument, ...]
    """What it works on."""
    group: str
    """The help lists it under this heading."""
    example: str
    """A line that somebody would type, without ``tilespec`` and the name."""
    options: bool = True
    """Whether it has options: the dataclass ``NAMEOptions`` in the file ``options.py`` beside the verb."""
    progress: bool = True
    """Whether it reports progress, which ``--quiet`` silences."""
    answers: Callable[[], bool] = lambda: True
    """Whether this process, of several that run one command, prints the result."""
    sets_exit_code: bool = True
    """Whether a result that is incomplete ends the command with exit code 3, and notes go to stderr."""
    announces: bool = False
    """Whether the verb prints the URL of its result as soon as it serves it, and nothing when it ends."""

    @property
    def declared(self) -> tuple[Option, ...]:
        """The options of the verb, those of Python alone too."""
        if not self.options:
            return ()
        room = VERBS[function_of(self.name)].partition(":")[0].rpartition(".")[0]
        kind = function_of(self.name).title().replace("_", "")
        return options_of(import_object(f"{room}.options:{kind}Options", "options"))

    @cached_property
    def typer_command(self) -> TyperCommand:
        """The command as typer makes it from its arguments and options."""
        options = [option for option in self.declared if option.flag]

        def call(**values: Any) -> None:
            chosen = {option.name: _read(self.name, option, values[option.name]) for option in options}
            for argument in self.arguments:
                chosen |= argument.read(self.name, values[argument.name])
            as_json, announced = values["as_json"], []

            def announce(result: Mapping[str, Any]) -> None:
                announced.append(result)
                answer(self.name, json.dumps(result) if as_json else str(result["url"]))

            shown = Silent() if values.get("quiet") else Lines()
            with logged(self.name, values.get("log")) as log:
                chosen |= {"ready": announce} if self.announces else {}
                chosen |= {"progress": Several(shown, log)} if self.progress else {}
                answers = (lambda: not announced) if self.announces else self.answers
                run(self.name, chosen, log=log, as_json=as_json, answers=answers, sets_exit_code=self.sets_exit_code)

        parameters = [*(argument.parameter() for argument in self.arguments), *map(_parameter, options)]
        parameters += [inspect.Parameter("as_json", KEYWORD, default=False, annotation=Json)]
        if self.progress:
            parameters += [inspect.Parameter("quiet", KEYWORD, default=False, annotation=Quiet)]
            parameters += [inspect.Parameter("log", KEYWORD, default=None, annotation=Log)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(self.name)(call)
        return cast("TyperCommand", typer.main.get_command(app))


@final
class LazyCommand(TyperCommand):
    """A command that is built when it is used: the start does not load the options of all verbs."""

    def __init__(self, command: Command) -> None:
        self._command = command
        example = f"\\b\nExample:\n  tilespec {command.name} {command.example}".rstrip()
        text = f"{inspect.cleandoc(command.help)}\n\n{example}"
        super().__init__(command.name, help=text, rich_markup_mode=None)

    @property
    def heading(self) -> str:
        """The heading under which the help lists it."""
        return self._command.group

    @property
    def summary(self) -> str:
        """What it does, in as few words as the help begins with."""
        return re.split(r"[:;.]\s", self._command.help + " ", maxsplit=1)[0].rstrip(". ")

    @property
    def params(self) -> list[Any]:
        """The arguments and options of the verb."""
        return self._command.typer_command.params

    @params.setter
    def params(self, none: list[Any]) -> None:
        """Leave them to `Command.typer_command`, whatever the base class sets."""

    def invoke(self, ctx: Any) -> None:
        """Call the verb."""
        ctx.invoke(self._command.typer_command.callback, **ctx.params)


def _parameter(option: Option) -> inspect.Parameter:
    """Return the parameter from which typer makes an option: a list, a text, or what the field holds."""
    info = typer.Option(option.flag, help=option.help, metavar=option.metavar)
    kind, default = option.kind, option.default
    if _kinds(option) & {Mapping, Sequence}:
        kind, default = list[str] | None, None
    elif str in _kinds(option) and default is not inspect.Parameter.empty:
        kind, default = (str | None, None) if default is None else (str, str(default))
    return inspect.Parameter(option.name, KEYWORD, annotation=Annotated[kind, info], default=default)


def _read(verb: str, option: Option, value: Any) -> Any:
    """Return the value of an option from what was given for it on the command line."""
    if Mapping in _kinds(option):
        return pairs(verb, str(option.flag), value)
    return value or () if Sequence in _kinds(option) else value


def _kinds(option: Option) -> set[Any]:
    """Return the types that an option may have, without their parameters."""
    kinds = get_args(option.kind) if isinstance(option.kind, UnionType) else (option.kind,)
    return {get_origin(kind) or kind for kind in kinds}
