"""Options of verbs: each is declared once, as a field of a frozen dataclass with its sentences below.

From the fields come the keywords, the signature and the documentation of the verb (`with_options`), and the options of
its command (`tilespec.cli.commands`). A file that declares options loads no heavy library, so that the help is quick.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, wraps
from typing import Any, Final, final, get_type_hints

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.registry import import_object
from tilespec.core.values import listed, plain, span

PYTHON: Final = {"flag": None}
"""Metadata of a field that is an option of the Python function alone."""
SEEDS: Final = 2**63 - 1
"""The largest seed that all generators of random numbers take."""
REMOVE: Final = "tilespec.storage.outputs:remove_output"
"""The function that removes an output which another one replaces."""
SPAN: Final = {"metavar": "A:B"}
"""Metadata of a field that is a span of rows or columns: the first, and the one behind the last."""
MASK: Final = {"metavar": "LAYER|INDEX>X"}
"""Metadata of a field that selects pixels by a layer, or by a threshold on a vegetation index."""
KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
SENTENCE: Final = re.compile(r"(?<=\.)\s+(?=[A-Z`])")
"""What stands between two sentences."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """The option of verbs that can plan without doing."""

    dry_run: bool = False
    """Check everything and write nothing; the result is the plan."""


@dataclass(frozen=True, kw_only=True)
class Overwrite:
    """The option of verbs that write where something else of tilespec's, or a file, may be."""

    overwrite: bool = False
    """Replace what tilespec made at the place of the output with other settings, or the file there. An output of the
    same settings is resumed, as ever."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """The options of verbs that can be restricted to a part of a scene."""

    rows: str | None = field(default=None, metadata=SPAN)
    """Take only the rows from A up to B, without B."""
    cols: str | None = field(default=None, metadata=SPAN)
    """Take only the columns from A up to B, without B."""


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """The option of verbs that draw random numbers."""

    seed: int = field(default=0, metadata={"between": (0, SEEDS)})
    """The seed decides everything that is random."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The options of verbs that can divide their work; the result has the same bytes for any number of workers."""

    workers: int = 0
    """This many processes of this machine share the work; 0 leaves it to this process."""
    cluster: str | None = None
    """Workers run on a cluster: local, slurm, the address of a scheduler (tls://...), or a dotted path."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """The option of verbs that can compute on a GPU."""

    device: str = field(default="cpu", metadata={"metavar": "cpu|cuda|cuda:N|auto"})
    """What computes: the processor (cpu), a GPU (cuda, or cuda:1 for the second one), or auto: a GPU if there is one.
    Bits are promised on one kind of device, and results agree between them as far as float32 goes."""


@dataclass(frozen=True, kw_only=True)
class Join:
    """The option of verbs whose work several processes can share without a scheduler."""

    join: bool = False
    """Share the work with all processes that were started with the same command, on any machine that sees OUT. The
    last one publishes; the bytes are those of one process."""


@final
@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a verb."""

    name: str
    """The keyword has this name."""
    kind: Any
    """The field is annotated with this type."""
    default: Any
    """The value that it has when nobody gives one."""
    text: str
    """The sentences under its field."""
    flag: str | None
    """The command line names the option so; None for an option of the Python function alone."""
    metavar: str | None
    """What the help shows in the place of a value; None for the name of the type."""
    between: tuple[int, int] | None = None
    """The smallest and the largest number that it takes; None for any."""

    @property
    def help(self) -> str:
        """The first sentence."""
        return SENTENCE.split(self.text)[0].replace("``", "")

    def read(self, value: Any) -> Any:
        """Return a value as the field holds it.

        An option of text takes paths, numbers and lists of texts too; a span of rows or columns takes slices and pairs.
        """
        if self.metavar == SPAN["metavar"]:
            return span(value)
        value = plain(value)
        if self.kind in {str, str | None}:
            value = listed(value)
            return str(value) if isinstance(value, float | int) and not isinstance(value, bool) else value
        return self._number(value) if self.kind in {int, int | None} else value

    def _number(self, value: Any) -> Any:
        """Return a whole number; refuse other values, and one beyond the option's limits."""
        low, high = self.between or (-SEEDS, SEEDS)
        if value is None and self.kind == int | None:
            return None
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not whole or isinstance(value, bool) or not low <= value <= high:
            limits = f" from {self.between[0]} to {self.between[1]}" if self.between else ""
            raise UserError(
                self.flag or self.name, found=repr(value), expected=f"a whole number{limits}", do="Give another number."
            )
        return int(value)


@cache
def options_of(kind: type) -> tuple[Option, ...]:
    """Return the options that a dataclass declares: those of its verb, then those that several verbs share."""
    bases, declared, kinds = kind.__mro__[:-1], {each.name: each for each in fields(kind)}, get_type_hints(kind)
    texts = {name: text for base in reversed(bases) for name, text in _texts(base.__module__)[base.__name__].items()}
    ordered = [base for base in reversed(bases) if base.__module__ != __name__]
    ordered += [base for base in bases if base.__module__ == __name__]
    return tuple(
        Option(
            name=name,
            kind=kinds[name],
            default=_default(declared[name].default),
            text=texts[name],
            flag=declared[name].metadata.get("flag", f"--{name.replace('_', '-')}"),
            metavar=declared[name].metadata.get("metavar"),
            between=declared[name].metadata.get("between"),
        )
        for name in dict.fromkeys(name for base in ordered for name in inspect.get_annotations(base))
    )


def values_of(options: Any, *kinds: type) -> dict[str, Any]:
    """Return the values of the options that ``kinds``, bases of their dataclass, declare."""
    return {each.name: getattr(options, each.name) for kind in kinds for each in fields(kind)}


def with_options(kind: type) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., dict[str, Any]]]:
    """Make a verb, whose options are keywords, of a function that takes them as one value of the dataclass ``kind``.

    The function is written ``(argument, ..., options, progress)``. The verb is called ``(argument, ..., option=value,
    ..., progress=None)``; its signature and its docstring list the options.
    """

    def decorate(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        options, written = {option.name: option for option in options_of(kind)}, inspect.signature(function)
        keywords = [
            *(inspect.Parameter(o.name, KEYWORD, default=o.default, annotation=o.kind) for o in options.values()),
            inspect.Parameter("progress", KEYWORD, default=None, annotation=Progress | None),
        ]
        arguments = [each for name, each in written.parameters.items() if name not in {"options", "progress"}]
        signature = written.replace(parameters=[*arguments, *keywords])

        @wraps(function)
        def called(*values: Any, **given: Any) -> dict[str, Any]:
            unknown = sorted(set(given) - set(signature.parameters))
            if unknown:
                names = ", ".join(sorted(options))
                raise TypeError(f"{function.__name__}() has no option {unknown[0]!r}; options are {names}")
            bound = signature.bind(*values, **given).arguments
            chosen = {name: options[name].read(bound.pop(name)) for name in options if name in bound}
            bound |= {"options": kind(**chosen), "progress": bound.get("progress") or Silent()}
            return _call(function, bound)

        listed = "\n".join(f"    {option.name}: {option.text}" for option in options.values())
        called.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{listed}"
        called.__signature__ = signature  # type: ignore[attr-defined]
        return called

    return decorate


def _default(value: Any) -> Any:
    """Return the default of a field as that of a parameter, which may have none."""
    return inspect.Parameter.empty if value is MISSING else value


def _call(function: Callable[..., dict[str, Any]], bound: dict[str, Any]) -> dict[str, Any]:
    """Call a verb; on request remove the outputs that are in its way, each once, after it has checked everything."""
    removed: set[str] = set()
    while True:
        try:
            return function(**bound)
        except OccupiedError as error:
            options = bound["options"]
            planned = getattr(options, "dry_run", False)
            if planned or not getattr(options, "overwrite", False) or error.place in removed:
                raise
            removed.add(error.place)
            import_object(REMOVE, "function")(error.place, _inputs(bound))


def _inputs(bound: dict[str, Any]) -> list[str]:
    """Return the texts among the arguments and options of a verb that may be paths of its inputs."""
    values = [value for name, value in bound.items() if name not in {"out", "options", "progress"}]
    values += vars(bound["options"]).values()
    lists = [value if isinstance(value, list | tuple) else [value] for value in values]
    return [value for several in lists for value in several if isinstance(value, str)]


@cache
def _texts(module: str) -> dict[str, dict[str, str]]:
    """Return the sentences under the fields of each class of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _under(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _under(node: ast.ClassDef) -> dict[str, str]:
    """Return the sentences under the fields of a class, on one line."""
    texts = {}
    for above, below in zip(node.body, node.body[1:], strict=False):
        match above, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts
