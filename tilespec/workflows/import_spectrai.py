"""Import: a configuration of spectrai 0.1.4 as one of tilespec, with the commands that bring its data in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load, options_of
from tilespec.models.nets import NETS
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.training.config import resolve
from tilespec.training.setup import Setup
from tilespec.workflows.config_file import Setting, Table, as_toml, check_free, plain_tables
from tilespec.workflows.options import ImportSpectraiOptions
from tilespec.workflows.spectrai_data import ASSUMED, PLACEHOLDER, OldData
from tilespec.workflows.spectrai_fields import FIELDS, LOST, NETWORKS, NetChoice, TaskChoice, read_fields, values_of

BETA: Final = 0.2
"""The parameter of spectrai's mixup."""
HALF: Final = 0.5
"""The share of spectra that spectrai reverses."""
BANDS: Final = 128
"""The number of bands for checks where a file does not say it."""
PERCENT: Final = 100
"""The sum of shares in percent."""
TURNS: Final = ("horizontal_flip", "vertical_flip", "rotation")
"""The fields of which each has some of the 8 symmetries of the square."""
NEUTRAL: Final = {"norm": "none", "activation": "relu"}
"""The options that a net without them has."""


@with_options(ImportSpectraiOptions)
def import_spectrai(file: str, out: str, options: ImportSpectraiOptions, progress: Progress) -> dict[str, Any]:
    """Write a configuration of spectrai 0.1.4, ``file`` (.yml), as one of tilespec, ``out`` (.toml).

    Args:
        file: The configuration of spectrai; its data need not be there.
        out: The file; one that is there is not replaced without ``overwrite``.
        options: Where the data lie and how many samples there are; given by name.
        progress: Unused, since a file is read in no time.

    Returns ``out, task, config, commands, notes``: what is different here, or has no counterpart, is a note.

    Raises:
        UserError: a field is unknown or has an unknown value, spectrai has no such network for the task and data, or
            ``out`` exists.
    """
    del progress
    check_free(out)
    given = read_fields(file)
    old = Conversion(values=values_of(given), given=given, root=Path(options.root or Path(file).parent), of=options)
    tables = old.tables()
    values, commands = plain_tables(tables), list(old.data.commands())
    if not options.dry_run:
        store_path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store_path(out), _head(file, out, given, commands, old.notes) + as_toml(tables))
    return {"out": out, "task": old.task.name, "config": values, "commands": commands, "notes": old.notes}


def _head(file: str, out: str, given: Mapping[str, str], commands: list[str], notes: list[str]) -> str:
    """Return the comments before the tables: commands, notes, and what became of each field."""
    fields = [f"{name} = {json.dumps(text)}: {FIELDS[name].goes or 'see the notes'}" for name, text in given.items()]
    parts = {
        f"From {json.dumps(file)}, a configuration of spectrai. Bring the data in:": commands,
        "Then:": [f"tilespec train {json.dumps(out)} --out model"],
        "Notes:": notes,
        "What became of each field:": fields,
    }
    lines = (line for title, entries in parts.items() for line in (title, *(f"    {entry}" for entry in entries), ""))
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


@final
@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A configuration of spectrai on its way to one of tilespec."""

    values: Mapping[str, Any]
    """The values of all fields."""
    given: Mapping[str, str]
    """The texts of the fields that the file has."""
    root: Path
    """The folder of the data."""
    of: ImportSpectraiOptions
    """The options of the verb."""
    notes: list[str] = field(default_factory=list)
    """What is different, or has no counterpart."""

    @property
    def task(self) -> TaskChoice:
        """The task of the configuration."""
        task: TaskChoice = self.values["task"]
        return task

    @cached_property
    def dimensions(self) -> int:
        """The number of dimensions of the convolutions."""
        return 1 if self.values["data_format"] == "spectrum,band" else self.values["dimension"]

    @cached_property
    def bands(self) -> int | None:
        """The number of bands after the crop; None if the file does not say it."""
        most: int | None = self.values["spectrum_length"]
        crop: int = self.values["spectral_crop_end"] - self.values["spectral_crop_start"]
        return min(crop, most or crop) if crop > 0 else most

    @cached_property
    def steps(self) -> str:
        """The steps of the preprocessing."""
        first, count = self.values["spectral_crop_start"], self.bands
        length, chosen = self.values["spectrum_length"], ("background_subtraction", "data_normalization")
        if length is not None and count is not None and count < length:
            self.note("spectrum_length", f"spectra keep their {count} bands, since the nets take any number of them")
        steps = [] if count is None else [f"crop=#{first}:#{first + count - 1}"]
        return ",".join([*steps, *(step for name in chosen for step in self.chosen(name))])

    @cached_property
    def scale(self) -> int:
        """The number of fine pixels along the side of a coarse one."""
        if self.task.name != "superres":
            return 1
        fine, coarse = self.values["target_image_size"], self.values["input_image_size"]
        if fine % coarse:
            found = f"{fine} pixels from {coarse}"
            raise UserError("target_image_size", found=found, expected="a multiple", do="Correct it in the file.")
        return int(fine // coarse)

    @cached_property
    def data(self) -> OldData:
        """The data of the file."""
        return OldData(values=self.values, root=self.root, scale=self.scale, steps=self.steps)

    @cached_property
    def samples(self) -> int:
        """The number of samples for training."""
        count = self.of.samples or self.data.count
        if count is None:
            self.note("epochs", f"the data cannot be counted, so {ASSUMED} samples are assumed; --samples says it")
        share = self.shares().get("train", 1.0) if self.of.samples is None else 1.0
        return max(1, round((count or ASSUMED) * share))

    @cached_property
    def batch(self) -> int:
        """The number of samples of a step, which is even where they are mixed."""
        batch: int = self.values["batch_size"]
        if self.mixes and batch % 2:
            self.note("batch_size", f"{batch + 1}, since two patches are mixed")
        return batch + batch % 2 * self.mixes

    @cached_property
    def mixes(self) -> bool:
        """Whether samples are mixed."""
        if self.values["mixup"] and self.task.name == "superres":
            self.note("mixup", "answers on a finer grid cannot be mixed here")
        return bool(self.values["mixup"]) and self.task.name != "superres"

    @cached_property
    def epoch(self) -> int:
        """The number of steps of an epoch."""
        return -(-self.samples // self.batch)

    def note(self, name: str, text: str) -> None:
        """Note what became of a field."""
        self.notes.append(f"{name}: {text}")

    def chosen(self, name: str) -> Any:
        """Return the value of a field with a note on what is different."""
        if self.values[name].note:
            self.note(name, self.values[name].note)
        return self.values[name].value

    def shares(self) -> dict[str, float]:
        """Return the shares of the data for training, validation and test, whether given in percent or as shares."""
        shares = {role: self.values[f"{role}_split"] or 0.0 for role in ("train", "val", "test")}
        total = sum(shares.values())
        if total > PERCENT:
            found, expected = f"{total:g} percent together", "at most 100"
            raise UserError("train_split, val_split, test_split", found=found, expected=expected, do="Correct them.")
        whole = PERCENT if total > 1 else 1
        return {role: share / whole for role, share in shares.items()} if shares["train"] else {}

    def tables(self) -> dict[str, Table]:
        """Return the tables of the configuration."""
        self._note_lost()
        data, held = self._data()
        recipe = {"steps": Setting(value=self.steps, why="as spectrai prepared spectra")} if self.steps else {}
        scale = {} if self.task.name != "superres" else {"scale": Setting(value=self.scale, why="")}
        tables = {
            "data": data,
            "recipe": recipe,
            "task": {"name": Setting(value=self.task.name, why=""), **scale},
            "net": self._net(),
            "objective": {
                "name": Setting(value="supervised", why=""),
                "loss": Setting(value=self.chosen("criterion"), why=""),
            },
            "train": self._train(bool(held)),
            "augment": self._augment(),
            "validate": held,
        }
        return self._of_images(self._aligned({name: table for name, table in tables.items() if table}))

    def _note_lost(self) -> None:
        """Note the fields that have no counterpart and say anything, and those of which a part is lost."""
        for name, text in LOST.items():
            if self.values[name] != FIELDS[name].read(name, FIELDS[name].default):
                self.note(name, text)
        patches = self.dimensions > 1
        turns = [name for name in TURNS if self.values[name]]
        lost = {
            "random_crop": (patches and not self.values["random_crop"], "patches lie at random, not in the middle"),
            "classes": (
                not self.task.spectra,
                f"the labels decide, not the {self.values['classes']} of the file",
            ),
            "shuffle": (not self.values["shuffle"], "the samples of every epoch are shuffled"),
            "horizontal_flip": (
                patches and 0 < len(turns) < len(TURNS),
                f"of {', '.join(TURNS)} the file has {', '.join(turns)}; data.augment has all 8 symmetries",
            ),
            "train_target_data": (
                self.task.name == "classify" and patches,
                "give each image its class as labels: ingest --labels, the same number for all of its pixels",
            ),
            "train_input_data": (
                not patches and self.values["data_directory"],
                "folders of spectra are read as text, JCAMP-DX or SPC; save .npy and .mat files as such",
            ),
        }
        for name, (there, text) in lost.items():
            if there:
                self.note(name, text)

    def _data(self) -> tuple[Table, Table]:
        """Return the tables of the data for training and for validation."""
        stores, held = self.data.stores("train"), self.data.stores("val")
        if not stores:
            found = "nothing"
            raise UserError("train_input_data, train_target_data", found=found, expected="paths", do="Add them.")
        if any(PLACEHOLDER in store for store in stores["scene"]):
            self.note("train_input_data", f"list the stores in [data] in the place of {PLACEHOLDER}; --root finds them")
        side = "input_image_size" if self.task.name == "superres" else "target_image_size"
        turns = self.dimensions > 1 and any(self.values[name] for name in TURNS)
        table = {key: Setting(value=_one(names), why="") for key, names in stores.items()} | {
            "patch": Setting(value=1 if self.dimensions == 1 else self.values[side], why=""),
            "patches": Setting(value=self.samples, why="samples of an epoch"),
            "augment": Setting(value=turns, why="turned and mirrored" if turns else ""),
        }
        validate = {key: Setting(value=_one(names), why="") for key, names in held.items()}
        rows = {} if held else self._rows()
        table |= {key: Setting(value=rows[key], why="") for key in ("rows", "test_rows") if key in rows}
        validate |= {"rows": Setting(value=rows["val"], why="")} if "val" in rows else {}
        rest = {
            "every": Setting(value=self.epoch, why="an epoch"),
            "keep": Setting(value="last", why="as spectrai did"),
        }
        return table, validate | rest if validate else {}

    def _rows(self) -> dict[str, str]:
        """Return the rows of a table of spectra for training, validation and test."""
        shares, count = self.shares(), self.data.count
        if shares and not (self.data.table and count):
            self.note("train_split", "hold samples out with validate.rows, or with further scenes in validate.scene")
        if not shares or not self.data.table or not count:
            return {}
        self.note("train_split", "spectra are divided in their order; shuffle the file if neighbours are alike")
        ends = [0, *(round(count * part) for part in accumulate(shares.values()))]
        spans = dict(zip(("rows", "val", "test_rows"), pairwise(ends), strict=True))
        return {name: f"{a}:{b}" for name, (a, b) in spans.items() if a < b}

    def _net(self) -> Table:
        """Return the net with those of the options that it has.

        Raises:
            UserError: spectrai has no such network for the task and the data.
        """
        network: NetChoice = self.values["network"]
        if self.dimensions not in network.cells.get(self.task.name, ()):
            cells = [name for name, one in NETWORKS.items() if self.dimensions in one.cells.get(self.task.name, ())]
            raise UserError(
                "network",
                found=f"{self.given['network']} for {self.task.name} in {self.dimensions} dimensions",
                expected=f"one of {', '.join(cells) or 'no network: there is none for these data'}",
                do="Correct network, dimension or data_format in the file.",
            )
        options = {"dimensions": self.dimensions, "norm": self.chosen("normalization")}
        options |= {"activation": self.values["activation"], "scale": self.scale, "width": max(16, self._width // 2)}
        options |= {"answer": "bands"} if self.task.spectra and self.dimensions != 2 else {}
        options |= {"head": "linear" if self.task.spectra else "logits", **network.options}
        has = options_of(load(NETS, network.name, "net"))
        for name, neutral in NEUTRAL.items():
            if name not in has and options[name] != neutral:
                self.note(f"net.{name}", f"{options[name]} is left out, since {network.name} has no choice of it")
        net = {"name": network.name} | {name: value for name, value in options.items() if name in has}
        if self.task.name == "superres" and "scale" not in has:
            net = {"name": "enlarged", "scale": self.scale, "inner": net}
        return {name: Setting(value=value, why="") for name, value in net.items()}

    def _of_images(self, tables: dict[str, Table]) -> dict[str, Table]:
        """Return the tables of a classification of images, each of which is a cell of a scene, else the same."""
        if self.task.name != "classify" or self.dimensions == 1:
            return tables
        cell, inner = tables["data"]["patch"], plain_tables(tables)["net"]
        net = {"name": Setting(value="cells", why=""), "cell": cell, "inner": Setting(value=inner, why="")}
        return tables | {"net": net, "task": tables["task"] | {"cell": cell}}

    @property
    def _width(self) -> int:
        return self.bands or BANDS

    def _train(self, validates: bool) -> Table:
        """Return the loop, the optimiser and the schedule."""
        schedule, floor = self.values["scheduler"](self.epoch)
        if isinstance(schedule, dict) and schedule["name"] == "plateau" and not validates:
            self.note("scheduler", "constant, since there is nothing to validate on that a plateau could follow")
            schedule = "constant"
        epochs = self.values["epochs"]
        why = f"{epochs} epochs of {self.samples} samples"
        values: dict[str, Any] = {"seed": self.values["seed"] or 0, "batch": self.batch, **self.values["optimizer"]}
        values |= {"rate": self.values["learning_rate"], "decay": 0.0}
        values |= {"schedule": schedule, "warmup": 0, "floor": floor}
        return {"steps": Setting(value=epochs * self.epoch, why=why)} | {
            name: Setting(value=value, why="") for name, value in values.items()
        }

    def _augment(self) -> Table:
        """Return the augmentation; what moves spectra is left out where targets could stay behind."""
        moves = {
            "shift": self.values["spectral_shift"] * (self._width - 1),
            "reverse": self.values["spectral_flip"] * HALF,
        }
        on = {name: value for name, value in moves.items() if value}
        if on and self.task.spectra:
            said = ", ".join(f"augment.{name} = {value:g}" for name, value in on.items())
            text = f"targets move too only on an axis: after `ingest --wavelengths FIRST:LAST` of both, set {said}"
            self.note("spectral_shift, spectral_flip", text)
            on = {}
        mixup = {"mixup": BETA} if self.mixes else {}
        return {name: Setting(value=value, why="") for name, value in (on | mixup).items()}

    def _aligned(self, tables: dict[str, Table]) -> dict[str, Table]:
        """Return the tables with patches whose sides the net can halve.

        Raises:
            UserError: a value does not suit the others, or the net cannot be built.
        """
        config = resolve(plain_tables(tables))
        facts = {"channels": self._width} if self.task.spectra else {"classes": max(2, self.values["classes"])}
        full = config.model_copy(update={"task": config.task.model_copy(update=facts)})
        align, side = Setup.of(full, self._width).reach.align, config.data.patch
        if side % align == 0:
            return tables
        side += -side % align
        self.note("target_image_size", f"data.patch is {side}, since the net needs a multiple of {align}")
        return tables | {"data": tables["data"] | {"patch": Setting(value=side, why="")}}


def _one(names: list[str]) -> str | list[str]:
    """Return a single store by itself, several as a list."""
    return names[0] if len(names) == 1 else names
