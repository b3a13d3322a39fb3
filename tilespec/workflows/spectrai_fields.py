"""Spectrai fields: what a configuration of spectrai 0.1.4 (Horgan and Bergholt, arXiv 2108.07595) may say.

Each concept is one table: spectrai's names and what they are here. Names are compared without case, blanks and signs.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import yaml

from tilespec.core.errors import UserError

LARGEST: Final = 1 << 20
"""The largest size of a file in bytes; those of spectrai have 5,000."""
CHECK: Final = "Check the path; spectrai's configurations are files NAME.yml."
"""What to do about a file that is none."""
TAG: Final = "tag:yaml.org,2002:"
"""The beginning of YAML's own tags."""
PLAIN: Final = ("str", "int", "float", "bool", "null")
"""The tags of plain values."""
ABSENT: Final = ("", "none", "null", "~")
"""The texts that mean no value."""
FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "none": False}
"""The texts of flags."""


Read = Callable[[str, Any], Any]
"""A reader: from a field's name and its value in the file to the value as it is used here."""


@final
@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one of spectrai's names is here."""

    value: Any
    """The name or the options here."""
    note: str = ""
    """What is different here; empty: nothing."""


@final
@dataclass(frozen=True, kw_only=True)
class TaskChoice:
    """What one of spectrai's tasks is here."""

    name: str
    """The name of the task."""
    spectra: bool
    """Whether the targets are spectra, which spectrai prepares as the input."""


@final
@dataclass(frozen=True, kw_only=True)
class NetChoice:
    """What one of spectrai's networks is here."""

    name: str
    """The name of the net."""
    cells: Mapping[str, tuple[int, ...]]
    """The numbers of dimensions that spectrai's network has for each task; 1 is spectra."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of the net that the name of the network says."""


TASKS: Final = {
    "Calibration": TaskChoice(name="calibrate", spectra=True),
    "Classification": TaskChoice(name="classify", spectra=False),
    "Denoising": TaskChoice(name="denoise", spectra=True),
    "Segmentation": TaskChoice(name="segment", spectra=False),
    "Super-Resolution": TaskChoice(name="superres", spectra=True),
}
"""The tasks by their names in spectrai."""
U_SHAPED: Final = {
    "calibrate": (1, 2),
    "denoise": (1, 2, 3),
    "classify": (1, 2, 3),
    "segment": (2, 3),
    "superres": (2,),
}
"""The cells of both U-Nets."""
RESIDUAL: Final = {
    f"ResNet{depth or ''}": NetChoice(name="resnet", cells={"classify": (1, 2, 3)}, options={"depth": depth or 18})
    for depth in (0, 18, 34, 50, 101, 152)
}
"""The residual networks; without a number it is the one of 18 layers."""
NETWORKS: Final = {
    "UNet": NetChoice(name="resunet", cells=U_SHAPED, options={"residual": False}),
    "ResUNet": NetChoice(name="resunet", cells=U_SHAPED, options={"residual": True}),
    **RESIDUAL,
    "DenseNet": NetChoice(name="densenet", cells={"classify": (1, 2, 3)}),
    "EfficientNet": NetChoice(name="efficientnet", cells={"classify": (2,)}),
    "SegNet": NetChoice(name="segnet", cells={"segment": (2, 3)}),
    "RCAN": NetChoice(name="rcan", cells={"superres": (2,)}, options={"groups": 18, "blocks": 16, "enlarge": "first"}),
}
"""The networks by their names in spectrai."""
DIMENSIONS: Final = {"2D": 2, "3D": 3}
"""The dimensions of convolutions over images; those over spectra have one."""
ACTIVATIONS: Final = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu"}
"""The activations by their names in spectrai."""
NORMS: Final = {
    "None": Choice(value="none"),
    "BatchNorm": Choice(value="batch"),
    "LayerNorm": Choice(value="channel", note="the channels of each pixel are normalised; spectrai took the last axis"),
    "InstanceNorm": Choice(value="instance"),
    "GroupNorm": Choice(value="group", note="spectrai ended in an error with it"),
}
"""The norms by their names in spectrai."""
BACKGROUNDS: Final = {
    "None": Choice(value=()),
    "Automatic Least Squares": Choice(value=("als=1e4:0.05:10",), note="spectrai accepted it and subtracted nothing"),
    "3rd Order Polynomial": Choice(value=("poly=3", "minoffset")),
    "5th Order Polynomial": Choice(value=("poly=5", "minoffset")),
    "Minimum Value Offset": Choice(
        value=("minoffset",), note="a minimum below 0 is subtracted too; of images spectrai left it"
    ),
}
"""The backgrounds that are subtracted, as steps of a recipe."""
NORMALISATIONS: Final = {
    "None": Choice(value=()),
    "Max Value": Choice(value=("max",), note="each spectrum is divided by its maximum; spectrai took that of an image"),
    "Area Under The Curve": Choice(value=("area",), note="the area is that over the axis; spectrai took the sum"),
}
"""The normalisations, as steps of a recipe."""
LOSSES: Final = {
    "L1": Choice(value="l1"),
    "L2 / MSE": Choice(value="mse"),
    "Cross Entropy": Choice(value="cross_entropy"),
    "Binary Cross Entropy": Choice(value="binary_cross_entropy", note="it is taken of logits; spectrai had no sigmoid"),
}
"""The losses by their names in spectrai."""
OPTIMISERS: Final = {
    "Adam": {"optimiser": "adam"},
    "Adagrad": {"optimiser": "adagrad"},
    "SGD": {"optimiser": "sgd", "betas": [0.0, 0.999]},
    "RMSprop": {"optimiser": "rmsprop"},
}
"""The optimisers, without weight decay, and SGD without momentum."""
SCHEDULES: Final[dict[str, Callable[[int], tuple[dict[str, Any] | str, float]]]] = {
    "Constant": lambda _: ("constant", 0.0),
    "Step": lambda epoch: ({"name": "step", "every": 50 * epoch, "factor": 0.2}, 0.0),
    "Multiplicative": lambda epoch: ({"name": "multiplicative", "factor": 0.985 ** (1 / epoch)}, 0.0),
    "Cyclic": lambda _: ({"name": "cyclic", "up": 2000, "halve": True}, 0.01),
    "OneCycle": lambda _: ({"name": "one_cycle", "rise": 0.3, "start": 0.04}, 4e-6),
    "ReduceOnPlateau": lambda _: ({"name": "plateau", "factor": 0.1, "patience": 10}, 0.0),
}
"""The schedules and the floors, from the number of steps of an epoch."""
FORMATS: Final = {"Image: H, W, C": "y,x,band", "Image: C, H, W": "band,y,x", "Spectra": "spectrum,band"}
"""The axes of arrays."""
TRAININGS: Final = {
    "Train From Scratch": "scratch",
    "Transfer Learning": "transfer",
    "Apply Pre-Trained Network": "apply",
}
"""The kinds of use."""
ALIASES: Final = {
    "asymmetricleastsquares": "Automatic Least Squares",
    "als": "Automatic Least Squares",
    "l2": "L2 / MSE",
    "mse": "L2 / MSE",
    "superres": "Super-Resolution",
    "2": "2D",
    "3": "3D",
}
"""Further spellings, such as labels of spectrai's own windows, which spectrai refused."""


@final
@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a configuration of spectrai."""

    section: str
    """The section that spectrai's files have it in."""
    read: Read
    """The reader of its value."""
    default: Any
    """The value in the file that changes nothing; a field that is left out has it."""
    goes: str
    """Where it goes: settings of the configuration, or another place; empty: nothing here corresponds to it."""


def _spelled(value: object) -> str:
    """Return a name without case, blanks and signs."""
    return "".join(letter for letter in str(value).casefold() if letter.isalnum())


def _choice(table: Mapping[str, Any]) -> Read:
    """Return the reader of one of the names of a table."""
    names = {_spelled(name): name for name in table} | {k: name for k, name in ALIASES.items() if name in table}

    def read(name: str, value: Any) -> Any:
        key = _spelled(value)
        if key not in names:
            raise _wrong(name, value, f"one of {', '.join(table)}")
        return table[names[key]]

    return read


def _number(low: float, high: float = math.inf, *, whole: bool = False) -> Read:
    """Return the reader of a number, also one that YAML takes for text, such as 1e-4."""

    def read(name: str, value: Any) -> Any:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= min(high, 2.0**53) or (whole and not number.is_integer()):
            limits = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise _wrong(name, value, f"a {'whole ' if whole else ''}number {limits}")
        return int(number) if whole else number

    return read


def _flag(name: str, value: Any) -> bool:
    """Return a flag of 0 or 1, or of True or False, also as text."""
    key = str(value).strip().casefold()
    if key not in FLAGS:
        raise _wrong(name, value, "0 or 1, or True or False")
    return FLAGS[key]


def _text(name: str, value: Any) -> str | None:
    """Return a text of one line, such as a path; None for none."""
    text = str(value).strip()
    if not text.isprintable():
        raise _wrong(name, value, "a text of one line")
    return None if text.casefold() in ABSENT else text


def _optional(read: Read) -> Read:
    """Return a reader that takes None too."""
    return lambda name, value: None if _text(name, value) is None else read(name, value)


def _wrong(name: str, value: Any, expected: str) -> UserError:
    return UserError(name, found=repr(value)[:80], expected=expected, do="Correct it in the file.")


COUNT: Final = _number(0, whole=True)
"""The reader of a number of things."""
SIZE: Final = _number(1, LARGEST, whole=True)
"""The reader of a number of which there is at least one."""
SHARE: Final = _optional(_number(0, 100))
"""The reader of a share in percent, or of none."""
ENTRIES: Final[dict[str, dict[str, tuple[Read, Any, str]]]] = {
    "Task_Options": {
        "task": (_choice(TASKS), None, "task.name"),
        "classes": (COUNT, 0, "the labels, which are counted"),
    },
    "Training_Options": {
        "training_option": (_choice(TRAININGS), "Train From Scratch", ""),
        "pretrained_network": (_text, "None", ""),
        "pretrained_classes": (COUNT, 0, ""),
    },
    "Network_Hyperparameters": {
        "network": (_choice(NETWORKS), None, "net.name"),
        "dimension": (_choice(DIMENSIONS), "2D", "net.dimensions, where the data are images"),
        "activation": (_choice(ACTIVATIONS), "ReLU", "net.activation"),
        "normalization": (_choice(NORMS), "None", "net.norm"),
    },
    "Training_Hyperparameters": {
        "epochs": (SIZE, 1, "train.steps"),
        "batch_size": (SIZE, 1, "train.batch"),
        "learning_rate": (_number(1e-12), 1e-4, "train.rate"),
        "input_image_size": (SIZE, 16, "data.patch and net.scale, of Super-Resolution"),
        "target_image_size": (SIZE, 64, "data.patch and net.scale, of images"),
        "spectrum_length": (_optional(SIZE), "None", "the step crop"),
        "optimizer": (_choice(OPTIMISERS), "Adam", "train.optimiser"),
        "scheduler": (_choice(SCHEDULES), "Constant", "train.schedule"),
        "criterion": (_choice(LOSSES), "L1", "objective.loss"),
    },
    "Preprocessing": {
        "spectral_crop_start": (COUNT, 0, "the step crop"),
        "spectral_crop_end": (COUNT, 0, "the step crop"),
        "background_subtraction": (_choice(BACKGROUNDS), "None", "the steps als, poly, minoffset"),
        "data_normalization": (_choice(NORMALISATIONS), "None", "the steps max, area"),
    },
    "Data_Augmentation": {
        "horizontal_flip": (_flag, 0, "data.augment"),
        "vertical_flip": (_flag, 0, "data.augment"),
        "rotation": (_flag, 0, "data.augment"),
        "random_crop": (_flag, 1, "data.patch: patches lie at random"),
        "spectral_shift": (_number(0, 1), 0.0, "augment.shift"),
        "spectral_flip": (_flag, 0, "augment.reverse"),
        "spectral_background": (_flag, 0, ""),
        "mixup": (_flag, 0, "augment.mixup"),
    },
    "DataManager_Options": {
        "data_format": (_choice(FORMATS), "Image: H, W, C", "ingest --axes"),
        "data_directory": (_flag, "False", "ingest"),
        "train_input_data": (_text, "None", "data.scene"),
        "val_input_data": (_text, "None", "validate.scene"),
        "test_input_data": (_text, "None", "a store for `tilespec evaluate`"),
        "train_target_data": (_text, "None", "data.target, or labels"),
        "val_target_data": (_text, "None", "validate.target, or labels"),
        "test_target_data": (_text, "None", "a store for `tilespec evaluate`"),
        "shuffle": (_flag, "True", "every epoch of a training is shuffled"),
        "seed": (_optional(_number(0, whole=True)), "None", "train.seed"),
        "train_split": (SHARE, "None", "data.rows of tables of known length"),
        "val_split": (SHARE, "None", "validate.rows of tables of known length"),
        "test_split": (SHARE, "None", "data.test_rows of tables of known length"),
    },
    "State_Dicts": {
        "net_state_dict": (_text, "None", ""),
        "optimizer_state_dict": (_text, "None", ""),
        "scheduler_state_dict": (_text, "None", ""),
    },
    "": {"save_frequency": (COUNT, 0, ""), "verbose": (_flag, "False", "")},
}
"""The reader, the default and the place of each field, in the sections and in the order of spectrai's files."""
FIELDS: Final = {
    name: Field(section=section, read=read, default=default, goes=goes)
    for section, entries in ENTRIES.items()
    for name, (read, default, goes) in entries.items()
}
"""The fields by name."""
SECTIONS: Final = {one.section for one in FIELDS.values()}
"""The names of the sections of a file; none for options of spectrai's command."""
WEIGHTS: Final = "weights of spectrai are not read, so the training begins with new ones"
LOST: Final = {
    "training_option": WEIGHTS,
    "pretrained_network": WEIGHTS,
    "pretrained_classes": WEIGHTS,
    "spectral_background": "spectrai had no such augmentation; augment.background adds smooth curves",
    "net_state_dict": WEIGHTS,
    "optimizer_state_dict": WEIGHTS,
    "scheduler_state_dict": WEIGHTS,
    "save_frequency": "it counts epochs; train.checkpoint_every counts steps",
    "verbose": "`tilespec train` shows its progress, and train.tensorboard writes events",
}
"""What is to be said of fields that nothing here corresponds to."""


def read_fields(file: str) -> dict[str, str]:
    """Return the texts of the fields of a file, in its own order; sections may be left out.

    Raises:
        UserError: the file cannot be read, is no YAML of plain values, has an unknown field or one of them twice, or
            lacks a field without which nothing can be said.
    """
    given: dict[str, str] = {}
    for name, text in _pairs(file):
        if name not in FIELDS:
            do = "Check the spelling, or take it out."
            raise UserError(f"{file}: {name!r}", found="an unknown field", expected=f"of {', '.join(FIELDS)}", do=do)
        if name in given:
            raise UserError(f"{file}: {name}", found="a field twice", expected="it once", do="Take one out.")
        given[name] = text
    for name, one in FIELDS.items():
        if one.default is None and name not in given:
            raise UserError(f"{file}: {name}", found="nothing", expected="a value", do="Add the field.")
    return given


def values_of(given: Mapping[str, str]) -> dict[str, Any]:
    """Return all fields as they are used here, with defaults for those that are not given."""
    return {name: one.read(name, given.get(name, one.default)) for name, one in FIELDS.items()}


def _pairs(file: str) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the fields of a file, whatever section they are in."""
    for name, node in _entries(file, file, _root(file)):
        if name in SECTIONS:
            yield from ((key, _plain(file, key, one)) for key, one in _entries(file, f"{file}: {name}", node))
        else:
            yield name, _plain(file, name, node)


def _root(file: str) -> yaml.Node | None:
    """Return the tree of a file, of which no object has been made, whatever its tags say."""
    try:
        if Path(file).stat().st_size > LARGEST or not Path(file).is_file():
            raise UserError(file, found="another kind of file", expected=f"YAML of at most {LARGEST} bytes", do=CHECK)
        return yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(file, found=error.strerror, expected="a configuration of spectrai", do=CHECK) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        found = f"no YAML: {' '.join(str(error).split())[:160]}"
        raise UserError(file, found=found, expected="a configuration of spectrai", do=CHECK) from error


def _entries(file: str, where: str, node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the keys and the values of a node."""
    if not isinstance(node, yaml.MappingNode):
        raise UserError(where, found="no fields", expected="lines `field: value`", do=CHECK)
    yield from ((_plain(file, "a key", key), value) for key, value in node.value)


def _plain(file: str, name: str, node: yaml.Node) -> str:
    """Return the text of a plain value."""
    if not isinstance(node, yaml.ScalarNode) or node.tag.removeprefix(TAG) not in PLAIN:
        raise UserError(f"{file}: {name}", found="no plain value", expected="a number or a text", do="Correct it.")
    return str(node.value)
