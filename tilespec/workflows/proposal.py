"""Proposal: settings of a training that suit some data, each with its reason; `tilespec new` writes them.

Each rule is a small function of what is known of the data. A further task is a line in `RULES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

from tilespec.core.limits import usable
from tilespec.core.results import in_bytes
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.data.training_set import TrainingSet, open_training_set
from tilespec.workflows.config_file import Setting, Table

HELD_OUT: Final = 0.2
"""The share of the rows that judge the training."""
LARGEST: Final = 128
"""The largest side of a proposed patch in pixels."""
LEAST: Final = 64
"""The smallest side of a region whose neighbourhoods are worth learning."""
SPECTRA: Final = 256
"""The number of spectra of a step."""
PIXELS: Final = 1 << 18
"""The largest number of pixels of a step, where a patch has many."""
HELD: Final = 160
"""The bytes that a step holds for each pixel and each feature of the first level: activations and gradients, about."""
UNEVEN: Final = 3.0
"""The ratio of the largest to the smallest class from which on the draws are balanced."""
FEW_BANDS: Final = 16
"""The number of bands below which convolutions along them have little to move along."""


@final
@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is known of the data before a training."""

    task: str
    """The name of the task."""
    sources: Mapping[str, str]
    """The stores by their keys in ``[data]``: ``scene``, and ``labels`` or ``target``."""
    shape: tuple[int, int, int]
    """The height, the width and the bands of the scene."""
    table: bool
    """Whether the scene is a table of spectra."""
    rows: int
    """The number of rows that are learned from; all of them if none can be held out."""
    counts: tuple[int, ...]
    """The number of labelled pixels of each class in these rows; empty where values are learned."""
    channels: int
    """The number of classes, or of values of a pixel."""
    scale: int
    """The number of output pixels along the side of an input pixel."""
    memory: int
    """The bytes that this process may use."""

    @classmethod
    def of(cls, task: str, sources: Mapping[str, str]) -> "DataFacts":
        """Return the facts of the stores; labels are counted, and the range of a target is found, in one pass each.

        Raises:
            UserError: a store does not exist, or the labels or the target do not suit the task.
        """
        scene, scale = Scene.open(sources["scene"]), 1
        if task == "superres":
            scale = Scene.open(sources["target"]).shape[0] // scene.shape[0]
        whole = _data_of(task, sources, scale, None)
        rows = _learned_rows(task, sources, scale, scene.shape[0], whole)
        part = whole if rows == scene.shape[0] else _data_of(task, sources, scale, f"0:{rows}")
        return cls(
            task=task,
            sources=sources,
            shape=scene.shape,
            table=scene.table,
            rows=rows,
            counts=tuple(part.facts.get("labelled_pixels", ())),
            channels=whole.options.get("classes") or whole.options["channels"],
            scale=scale,
            memory=usable(),
        )

    @property
    def small(self) -> bool:
        """Whether there are no neighbourhoods to learn from."""
        return self.table or min(self.rows, self.shape[1]) < LEAST


def _data_of(task: str, sources: Mapping[str, str], scale: int, rows: str | None) -> TrainingSet:
    """Return the data of some rows as a training opens them."""
    options = {"scale": scale} if task == "superres" else {}
    data = {key: [url] for key, url in sources.items()} | ({} if rows is None else {"rows": rows})
    return open_training_set(resolve({"data": data, "task": {"name": task, **options}}))


def _learned_rows(task: str, sources: Mapping[str, str], scale: int, height: int, whole: TrainingSet) -> int:
    """Return the number of rows to learn from: all but a fifth, or all where one of both parts lacks a class."""
    rows = round(height * (1 - HELD_OUT))
    total = whole.facts.get("labelled_pixels")
    if not 0 < rows < height:
        return height
    if total is None:
        return rows
    counts = _data_of(task, sources, scale, f"0:{rows}").facts["labelled_pixels"]
    parts = [(part, every - part) for part, every in zip(counts, total, strict=True) if every]
    return rows if all(min(both) > 0 for both in parts) else height


def proposed(facts: DataFacts) -> dict[str, Table]:
    """Return the tables of a configuration with the reason of each setting."""
    learned = RULES[facts.task](facts)
    net = learned.get("net.inner", learned["net"])
    patch = _patch(facts, net)
    batch = _batch(facts, net, patch.value)
    tables = {
        "data": _data(facts) | {"patch": patch} | _balance(facts),
        "recipe": {"steps": _steps(facts, net)},
        "task": _task(facts),
        **learned,
        "train": _train(batch),
        "validate": _validate(facts),
    }
    return {name: table for name, table in tables.items() if table}


def _data(facts: DataFacts) -> Table:
    """Return the stores and the rows."""
    stores = {key: Setting(value=url, why="") for key, url in facts.sources.items()}
    if facts.rows == facts.shape[0]:
        why = "all: the last fifth, or the rest, would lack a class. `tilespec study --split` can judge"
        return stores | {"rows": Setting(value=f"0:{facts.rows}", why=why)}
    return stores | {"rows": Setting(value=f"0:{facts.rows}", why="learned from; the last fifth judges")}


def _validate(facts: DataFacts) -> Table:
    """Return the rows that judge the training, if there are any."""
    if facts.rows == facts.shape[0]:
        return {}
    rows = Setting(value=f"{facts.rows}:{facts.shape[0]}", why="a block of its own: neighbours are no test")
    return {"rows": rows, "every": Setting(value=250, why="the best of these weights are kept")}


def _patch(facts: DataFacts, net: Table) -> Setting:
    """Return the side of a patch: as large as useful, and as the region and the halvings of the net allow."""
    if not _levels(net):
        return Setting(value=1, why="single spectra: the net looks at no neighbours")
    align = 2 ** _levels(net)
    side = min(LARGEST, facts.rows, facts.shape[1]) // align * align
    return Setting(value=side, why=f"a multiple of {align}, which the net's halvings need")


def _levels(net: Table) -> int:
    """Return how often a net halves its input, or 3 for a net of another kind that reads neighbours."""
    if net.get("dimensions", Setting(value=2, why="")).value == 1 or net["name"].value == "mlp":
        return 0
    return int(next((net[key].value for key in ("n_down", "levels") if key in net), 3))


def _batch(facts: DataFacts, net: Table, patch: int) -> Setting:
    """Return the patches of a step: as many as memory allows, up to `PIXELS` pixels or `SPECTRA` spectra."""
    width = int(next((net[key].value for key in ("base_width", "width") if key in net), 64))
    features = width * (facts.shape[2] if _levels(net) == 0 and "dimensions" in net else facts.scale**2)
    least = patch * patch * features * HELD
    wanted = SPECTRA if patch == 1 else max(1, PIXELS // patch**2)
    batch = 1 << (max(1, min(wanted, facts.memory // 4 // least)).bit_length() - 1)
    return Setting(value=batch, why=f"about {in_bytes(batch * least)} of {in_bytes(facts.memory)} that are free")


def _balance(facts: DataFacts) -> Table:
    """Return how classes are drawn."""
    present = [count for count in facts.counts if count]
    if not present:
        return {}
    if max(present) > UNEVEN * min(present):
        why = f"the largest class has {max(present) / min(present):.0f} times the pixels of the smallest"
        return {"balance": Setting(value="sqrt", why=why)}
    return {"balance": Setting(value="labelled", why="classes are about as large as each other")}


def _steps(facts: DataFacts, net: Table) -> Setting:
    """Return the recipe."""
    if not facts.counts:
        return Setting(value="minmax=shared", why="one scale for all bands, so that spectra keep their shape")
    bands = facts.shape[2]
    if facts.small or net["name"].value != "unet" or bands <= FEW_BANDS:
        return Setting(value="autoscale", why="each band has mean 0 and deviation 1")
    components = min(bands, max(4, facts.channels + 1), 10)
    return Setting(value=f"pca={components},scale", why=f"{bands} bands are read once, {components} scores often")


def _task(facts: DataFacts) -> Table:
    """Return the task."""
    scale = {"scale": Setting(value=facts.scale, why="as the target has")} if facts.task == "superres" else {}
    return {"name": Setting(value=facts.task, why=""), **scale}


def _train(batch: Setting) -> Table:
    """Return the loop."""
    return {
        "steps": Setting(value=1000, why="minutes to an hour; more once the validation still rises at the end"),
        "batch": batch,
        "rate": Setting(value=1e-3, why="of AdamW, falling along a cosine"),
        "warmup": Setting(value=50, why="first steps are steep"),
        "clip": Setting(value=1.0, why="no step is longer than usual"),
    }


Rule = Callable[[DataFacts], dict[str, Table]]
"""A function that returns the tables of the objective, of the net, and of the one inside of it (``net.inner``)."""


def _of_spectra(facts: DataFacts, why: str) -> Table:
    """Return a net that reads each spectrum by itself: convolutions along the bands, or a perceptron for few bands."""
    if facts.shape[2] < FEW_BANDS:
        hidden = Setting(value=[64, 64], why="")
        return {"name": Setting(value="mlp", why=f"{facts.shape[2]} bands have no shape to convolve"), "hidden": hidden}
    same = not facts.counts and facts.channels == facts.shape[2]
    answer = Setting(value="bands", why="a value for each band") if same else Setting(value="channels", why="")
    return {
        "name": Setting(value="resunet", why=why),
        "dimensions": Setting(value=1, why="along the bands of each pixel: no seams, and tables work too"),
        "base_width": Setting(value=16, why="a quarter of the published width, for a laptop"),
        "levels": Setting(value=3, why=""),
        "norm": Setting(value="batch", why="frozen at prediction"),
        "answer": answer,
        "head": Setting(value="logits" if facts.counts else "linear", why=""),
    }


def _classes(facts: DataFacts) -> dict[str, Table]:
    """Return a net that answers classes: of neighbourhoods where there are any, else of spectra."""
    objective = _supervised("cross_entropy", "")
    if facts.small or facts.task == "classify":
        return {"net": _of_spectra(facts, "the shape of a spectrum tells its class"), "objective": objective}
    halvings = min(6, (min(facts.rows, facts.shape[1], LARGEST)).bit_length() - 2)
    net = {
        "name": Setting(value="unet", why="texture and shape tell classes that have one spectrum"),
        "base_width": Setting(value=16, why="a quarter of the published width, for a laptop"),
        "n_down": Setting(value=halvings, why="the coarsest layer has 2 x 2 pixels or more"),
        "norm": Setting(value="none", why="the same net on any tile"),
        "dropout": Setting(value=0.0, why=""),
        "init": Setting(value="kaiming", why="a net without norms needs it"),
    }
    return {"net": net, "objective": objective}


def _values(facts: DataFacts) -> dict[str, Table]:
    """Return a net that answers values of each spectrum by itself."""
    net = _of_spectra(facts, "a spectrum is made of its neighbouring bands")
    return {"net": net, "objective": _supervised("l1", "outliers weigh less")}


def _cleaned(facts: DataFacts) -> dict[str, Table]:
    """Return a net that answers what is to be added to each spectrum."""
    tables = _values(facts)
    plain = {"norm": Setting(value="none", why="the statistics of a batch disturb small corrections")}
    net = tables["net"] | (plain if "norm" in tables["net"] else {})
    return {**_added("noise is learned sooner than spectra", net), "objective": tables["objective"]}


def _finer(facts: DataFacts) -> dict[str, Table]:
    """Return a net that answers what is to be added to the image with finer pixels."""
    net = {
        "name": Setting(value="rcan", why="residual groups at the low resolution, enlarged at the end"),
        "scale": Setting(value=facts.scale, why=""),
        "width": Setting(value=64, why=""),
        "groups": Setting(value=2, why="the published ten take a GPU"),
        "blocks": Setting(value=4, why=""),
        "attention": Setting(value=False, why="without means over a tile: exact on tiles, no seams"),
    }
    why = "what a bicubic enlargement lacks is learned sooner than the whole"
    nets = _added(why, net) if facts.channels == facts.shape[2] else {"net": net}
    return {**nets, "objective": _supervised("l1", "sharper than mse")}


def _added(why: str, net: Table) -> dict[str, Table]:
    """Return the tables of a net whose answer is added to its input."""
    return {"net": {"name": Setting(value="residual", why=why)}, "net.inner": net}


def _supervised(loss: str, why: str) -> Table:
    """Return the objective with a loss."""
    return {"name": Setting(value="supervised", why=""), "loss": Setting(value=loss, why=why)}


RULES: Final[dict[str, Rule]] = {
    "segment": _classes,
    "classify": _classes,
    "denoise": _cleaned,
    "calibrate": _values,
    "reconstruct": _values,
    "superres": _finer,
}
"""The rules for net and objective by task."""
