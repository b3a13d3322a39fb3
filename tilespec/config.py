"""Configuration of a training: TOML into models that forbid unknown keys. A typed value first, a file second."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tilespec.errors import UserError
from tilespec.presets import preset
from tilespec.recipe import Recipe

Place = tuple[int | str, ...]


class _Table(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Named(BaseModel):
    """A table whose further keys belong to the plug-in that it names."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str
    """In the table of plug-ins, or a dotted path ``package.module:Name``."""


@final
class Data(_Table):
    """What the net learns from."""

    scene: tuple[str, ...] = Field(min_length=1)
    """One scene or a list."""
    labels: tuple[str, ...] | None = None
    """Stores with a ``labels`` layer, one for each scene; None: the scenes' own."""
    rows: str | None = None
    """``"A:B"``: rows to train on; None: all."""
    cols: str | None = None
    """``"A:B"``: columns to train on; None: all."""
    test_rows: str | None = None
    """Rows kept for testing: a training region that overlaps them is refused."""
    test_cols: str | None = None
    """Columns kept for testing."""
    patch: int = Field(default=256, ge=1)
    """Side of a training patch in pixels; a multiple of the net's alignment."""
    patches: int = Field(default=500, ge=1)
    """Patches in an epoch."""
    window: int = Field(default=1, ge=1)
    """Neighbouring patches that follow each other, so that a block is decoded once for several of them."""
    augment: bool = True
    """Turn and mirror patches: the 8 symmetries of the square."""
    drop_single_class: bool = False
    """Draw ``patches`` once, drop those of one class, then draw from the kept with replacement (as published)."""
    adapt: bool = False
    """Shrink patch and principal components to what the scene allows."""
    cache: int = Field(default=1 << 30, ge=0)
    """Bytes of scores kept decoded."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {k: [v] if k in ("scene", "labels") and isinstance(v, str) else v for k, v in given.items()}


@final
class RecipeTable(_Table):
    """The spectral steps before the net: none, some that are fitted here, or some that were fitted before."""

    steps: str | None = None
    """Such as ``"vsn,pca=4,scale"``, fitted on the training region."""
    path: str | None = None
    """Folder of a recipe that `tilespec fit` wrote."""

    @model_validator(mode="after")
    def _one(self) -> "RecipeTable":
        if self.steps and self.path:
            raise ValueError("give steps or path, not both")
        return self


@final
class TaskTable(_Named):
    """What is predicted; options of the task."""

    name: str = "segment"
    """Of the task."""


@final
class NetTable(_Named):
    """The generator; parameters of the architecture."""

    name: str = "unet"
    """Of the net."""


@final
class ObjectiveTable(_Named):
    """How it is learned; options of the objective."""

    name: str = "cgan"
    """Of the objective."""


@final
class Train(_Table):
    """The loop."""

    seed: int = Field(default=0, ge=0)
    """Of weights, patches and dropout."""
    steps: int = Field(default=700, ge=1)
    """Steps are fixed, not seconds: the result does not depend on the machine."""
    batch: int = Field(default=2, ge=1)
    """Patches per step, of all ranks together."""
    optimiser: Literal["adam", "adamw", "rmsprop"] = "adamw"
    """Of every player."""
    rate: float = Field(default=2e-3, gt=0)
    """Learning rate after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam and AdamW."""
    decay: float = Field(default=1e-4, ge=0)
    """Weight decay."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Of the learning rate, a pure function of the step."""
    warmup: int = Field(default=30, ge=0)
    """Steps of linear warm-up."""
    floor: float = Field(default=0.02, ge=0, le=1)
    """Share of the rate that the cosine ends at."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between two checkpoints."""
    log_every: int = Field(default=1, ge=1)
    """Steps between two lines of ``log.jsonl``."""
    loaders: int = Field(default=1, ge=0)
    """Threads that prepare batches ahead; 0: the loop prepares them itself."""
    bf16: bool = False
    """Convolve in bfloat16: faster where convolutions dominate."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the nets live."""


@final
class Config(_Table):
    """A training, resolved."""

    data: Data
    """What the net learns from."""
    recipe: RecipeTable = RecipeTable()
    """The spectral steps before the net."""
    task: TaskTable = TaskTable()
    """What is predicted."""
    net: NetTable = NetTable()
    """The generator."""
    objective: ObjectiveTable = ObjectiveTable()
    """How it is learned."""
    train: Train = Train()
    """The loop."""

    def deciding(self) -> dict[str, Any]:
        """Return, as plain data, the settings that decide the weights: not where and how fast they are computed."""
        plain = self.model_dump(mode="json")
        for table, key in EXECUTION:
            del plain[table][key]
        if self.recipe.path is not None:
            plain["recipe"]["path"] = Recipe.load(self.recipe.path).digest  # the recipe, wherever it lies
        return plain


EXECUTION = (
    ("data", "cache"),
    ("data", "scene"),
    ("data", "labels"),
    ("train", "checkpoint_every"),
    ("train", "log_every"),
    ("train", "loaders"),
    ("train", "device"),
)
"""Settings that may change when a training is resumed; scenes and labels are compared by what they hold."""


def resolve(config: str | Path | Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> Config:
    """Return the checked configuration of a TOML file, of ``preset:NAME`` or of a mapping.

    Args:
        config: Where the settings come from.
        overrides: ``{"train.steps": "100"}``: dotted keys, values as TOML writes them; anything else is text.

    Raises:
        UserError: no such file or preset, no TOML, an unknown key, a value of the wrong type or out of range.
    """
    where, tables = _read(config)
    overrides = overrides or {}
    if {"recipe.steps", "recipe.path"} & set(overrides):
        tables["recipe"] = {}  # one replaces the other
    for key, text in overrides.items():
        _set(tables, key, text)
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise _explain(where, error) from None


def _read(config: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a name for messages, and the tables, copied."""
    if isinstance(config, Mapping):
        return "configuration", {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    if str(config).startswith("preset:"):
        return str(config), tomllib.loads(preset(str(config).removeprefix("preset:")))
    try:
        return str(config), tomllib.loads(Path(config).read_text())
    except OSError as error:
        raise UserError(
            config,
            found=error.strerror or "nothing readable",
            expected="a TOML file, or preset:NAME",
            do="Check the path; `preset:tiny` trains in seconds.",
        ) from error
    except ValueError as error:
        raise UserError(config, found=f"no TOML: {error}", expected="TOML", do="Correct that line.") from error


def _set(tables: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted ``key`` to the value that ``text`` is."""
    *path, last = key.split(".")
    for name in path:
        tables = tables.setdefault(name, {})
    if not path or not isinstance(tables, dict):
        raise UserError(
            f"--set {key}={text}",
            found="a key without its table",
            expected="table.key=value, such as train.steps=100",
            do=f"The tables are {', '.join(Config.model_fields)}.",
        )
    tables[last] = _scalar(text)


def _scalar(text: str) -> Any:
    """Return the TOML value ``text``; text that is no boolean, number, string or list of TOML is itself."""
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def _explain(where: str, error: ValidationError) -> UserError:
    """Return the first mistake as one message: its key, what was found, and the keys or values that are known."""
    mistakes = error.errors(include_url=False)
    first = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
    key = ".".join(str(part) for part in first["loc"])
    table = ".".join(str(part) for part in first["loc"][:-1])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known(first["loc"][:-1]))
        expected = f"keys of [{table}]: {known}" if table else f"the tables {known}"
        return UserError(f"{where}: {key}", found="an unknown key", expected=expected, do="Check the spelling.")
    if first["type"] == "missing":
        do = f"Give it in the file, or with --set {key}=..."
        return UserError(f"{where}: {key}", found="nothing", expected="a value", do=do)
    message = first["msg"][:1].lower() + first["msg"][1:]
    return UserError(f"{where}: {key}", found=repr(first["input"]), expected=message, do="Change that value.")


def _known(place: Place) -> list[str]:
    """Return the keys that a table knows."""
    model: type[BaseModel] = Config
    for name in place:
        inner = model.model_fields[str(name)].annotation
        assert isinstance(inner, type), "tables are models"
        model = inner
    return list(model.model_fields)
