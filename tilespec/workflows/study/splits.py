"""Splits: training scenes and test scenes by their names; no scene is both."""

import csv
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import read_table
from tilespec.training.settings import Data

HEADS = ("name", "names", "file", "filename", "image", "scene")
"""The first lines of lists that are titles and not names."""
WHOLE = "all"
"""The name of the single fold of a study whose test region is a part of its scenes."""


@final
@dataclass(frozen=True, kw_only=True)
class StudyScene:
    """A scene and its truth."""

    name: str
    """The name of the scene in folds and tables."""
    scene: str
    """The URL of the scene."""
    truth: str | None
    """The URL of the labels or the target; None: the scene itself."""
    key: str = "target"
    """The kind of the truth: ``labels`` or ``target``."""


@final
@dataclass(frozen=True, kw_only=True)
class Split:
    """One division of the scenes into training and test."""

    name: str
    """The name of the fold in the table."""
    train: tuple[StudyScene, ...]
    """The training scenes."""
    test: tuple[StudyScene, ...]
    """The test scenes."""


Find = Callable[[str], StudyScene]


def items_of(data: Data) -> tuple[StudyScene, ...]:
    """Return the scenes of a configuration with the names of their stores; a repeated name gets a number."""
    truths: Sequence[str | None] = data.target or data.labels or (None,) * len(data.scene)
    key = "labels" if data.labels else "target"
    scenes: list[StudyScene] = []
    for scene, truth in zip(data.scene, truths, strict=True):
        stem, names = store_path(scene).stem, {item.name for item in scenes}
        name = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(scenes) + 3))) if one not in names)
        scenes.append(StudyScene(name=name, scene=scene, truth=truth, key=key))
    return tuple(scenes)


def among(items: Sequence[StudyScene]) -> Find:
    """Return the function that finds a scene of a configuration by its name or its path."""

    def find(name: str) -> StudyScene:
        for item in items:
            if name in (item.name, item.scene, store_path(item.scene).name):
                return item
        raise _missing(name, f"one of {', '.join(item.name for item in items)}", "data.scene")

    return find


def under(root: str, target_root: str | None) -> Find:
    """Return the function that finds the store of a name in a folder, and its target of that name in another one."""

    def find(name: str) -> StudyScene:
        truth = None if target_root is None else _store(target_root, name)
        return StudyScene(name=name.removesuffix(".zarr").replace("/", "-"), scene=_store(root, name), truth=truth)

    return find


def folds_of(groups: Mapping[str, Sequence[str]], find: Find, others: Sequence[StudyScene] = ()) -> tuple[Split, ...]:
    """Return a fold for each group of names, which is tested; all other groups are used for training.

    So two groups are the two-fold protocol: the second fold is the first one swapped. For a single group the ``others``
    outside of it are used for training.

    Raises:
        UserError: a name does not exist or is in two groups, or there are no training scenes.
    """
    members = {group: tuple(find(name) for name in names) for group, names in groups.items()}
    _check_apart(members)
    folds = []
    for group, test in members.items():
        train = [item for other, items in members.items() if other != group for item in items]
        if len(members) == 1:
            train = [item for item in others if item.scene not in {one.scene for one in test}]
        folds.append(_checked(Split(name=group, train=tuple(train), test=test)))
    return tuple(folds)


def groups_of(files: Sequence[str], texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the names in lists, one group for each file, and in ``NAME=scene1,scene2``.

    Raises:
        UserError: a file does not exist or is empty, or a group is given twice.
    """
    pairs = [(Path(file).stem, _listed(file)) for file in files]
    for text in texts:
        name, equals, names = text.partition("=")
        if not equals or not names.strip(", "):
            raise UserError("--fold", found=repr(text), expected="NAME=scene1,scene2", do="Name its scenes.")
        pairs.append((name.strip(), [one.strip() for one in names.split(",") if one.strip()]))
    groups = dict(pairs)
    if len(groups) < len(pairs):
        raise UserError("--folds", found="two groups of one name", expected="names that differ", do="Rename one.")
    return groups


def read_folds(file: str, find: Find) -> tuple[Split, ...]:
    """Return the folds of a TOML file: tables ``[[fold]]`` with ``name``, ``train`` and ``test``.

    Raises:
        UserError: the file does not exist, is no TOML or has other keys, a name does not exist, or a scene is on both
            sides.
    """
    try:
        tables = tomllib.loads(_text(file)).get("fold", [])
    except tomllib.TOMLDecodeError as error:
        raise UserError(file, found=f"no TOML: {error}", expected="TOML", do="Correct that line.") from error
    keys = {"name", "train", "test"}
    if not tables or not isinstance(tables, list) or any(set(one) != keys for one in tables):
        raise UserError(
            file,
            found=f"{len(tables)} folds" if not tables else f"keys {', '.join(sorted(set().union(*tables)))}",
            expected="tables [[fold]], each with name, train and test",
            do="List the names of the training scenes, and of the test scenes.",
        )
    return tuple(_fold_of_text(one, find) for one in tables)


def _fold_of_text(one: Mapping[str, Any], find: Find) -> Split:
    """Return one fold of a TOML file."""
    sides = {side: tuple(find(str(name)) for name in one[side]) for side in ("train", "test")}
    _check_apart(sides)
    return _checked(Split(name=str(one["name"]), **sides))


def _check_apart(groups: Mapping[str, Sequence[StudyScene]]) -> None:
    """Refuse a scene in two groups, or twice in one."""
    group_of: dict[str, str] = {}
    for group, items in groups.items():
        for item in items:
            if item.scene in group_of:
                raise UserError(
                    f"fold {group}",
                    found=f"{item.name}, which is in {group_of[item.scene]} already",
                    expected="lists without a scene in common",
                    do="A scene is either for training or for test: remove it from one of the two.",
                )
            group_of[item.scene] = group


def _checked(fold: Split) -> Split:
    """Return a fold after checking that it has scenes on both sides."""
    for side, items in (("train on", fold.train), ("test on", fold.test)):
        if not items:
            raise UserError(
                f"fold {fold.name}",
                found=f"no scene to {side}",
                expected="one or more",
                do="Give two lists or more: each is tested after a training on the others.",
            )
    return fold


def _listed(file: str) -> list[str]:
    """Return the names in a text or CSV file: the first field of each line, without comments and a title."""
    rows = [row for row in csv.reader(_text(file).splitlines()) if row and row[0].partition("#")[0].strip()]
    names = [row[0].partition("#")[0].strip() for row in rows]
    names = names[1:] if names and names[0].lower() in HEADS else names
    if not names:
        raise UserError(file, found="no name", expected="a name on each line", do="List the scenes of the fold.")
    return names


def _text(file: str) -> str:
    """Return the contents of a text file."""
    try:
        return read_table(file)
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "no text"
        raise UserError(file, found=problem, expected="a list of names, or TOML", do="Check the path.") from error


def _store(root: str, name: str) -> str:
    """Return the store of a name in a folder; the name may include the ending of the original image."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError("--folds", found=repr(name), expected=f"a name under {root}", do="Give names, not paths.")
    stem = name.rpartition(".")[0] or name
    for one in dict.fromkeys((name, f"{name}.zarr", stem, f"{stem}.zarr")):
        if (store_path(root) / one / "zarr.json").exists():
            return str(store_path(root) / one)
    raise _missing(name, f"a store {name} or {name}.zarr", root)


def _missing(name: str, expected: str, where: str) -> UserError:
    return UserError(
        where,
        found=f"no scene {name!r}",
        expected=expected,
        do="Ingest it under that name, or take it out of the list.",
    )
