"""Settings: the tables and keys in the configuration of a training."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from tilespec.core.options import SEEDS
from tilespec.core.values import plain, span
from tilespec.models.model import Model
from tilespec.spectra.recipe import Recipe
from tilespec.storage.inventory import digests

STORES = ("scene", "labels", "target")
"""The keys that name stores, one or a list."""
LISTED = (*STORES, "columns", "synthetic")
"""The keys that are one text or a list."""
MOST, LARGEST = 2**31 - 1, 1 << 20
"""The largest number of steps or patches, and the largest side of a patch or size of a batch."""
Share = Annotated[float, Field(ge=0, lt=1)]
"""A share of 0 up to 1, without 1."""
Kind = Literal[
    "rotate", "shift", "reverse", "gain", "slope", "offset", "background", "noise", "drop", "cutmix", "mixup"
]
"""The kinds of augmentation in the order of application."""

EXECUTION = (
    ("data", "cache"),
    ("data", "scene"),
    ("data", "labels"),
    ("data", "target"),
    ("data", "references"),
    ("data", "synthetic"),
    ("train", "checkpoint_every"),
    ("train", "log_every"),
    ("train", "loaders"),
    ("train", "device"),
    ("train", "accumulate"),
    ("train", "compile"),
    ("train", "bad_steps"),
    ("train", "tensorboard"),
    ("train", "timeout"),
    ("train", "restarts"),
)
"""The settings that may change when a training is resumed; scenes, labels and targets are compared by content."""


class SettingsTable(BaseModel):
    """A table of the configuration, which refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Named(BaseModel):
    """A table that names a plug-in, to which its further keys belong."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str
    """The name in the table of plug-ins, or the dotted path ``package.module:Name`` of your own plug-in."""


def listed(value: Any) -> Any:
    """Return a table in which a single scene, store of labels or of a target, or column becomes a list of one entry."""
    if not isinstance(value, Mapping):
        return value
    stores = {key: plain(value[key]) for key in LISTED if key in value}  # paths are texts
    return {**value, **{key: [store] if isinstance(store, str) else store for key, store in stores.items()}}


@final
class Validate(SettingsTable):
    """The validation during a training, by `tilespec predict` itself, on pixels that are not used for training.

    Without rows, cols, scene, samples and share there is no validation.
    """

    rows: str | None = None
    """The rows ``"A:B"`` for validation, which must overlap neither the training nor the test region."""
    cols: str | None = None
    """The columns ``"A:B"`` for validation."""
    scene: tuple[str, ...] | None = None
    """The scene, or a list of scenes, to which rows and cols refer; None: the scenes of ``data.scene``."""
    labels: tuple[str, ...] | None = None
    """The stores with a ``labels`` layer, one for each of these scenes; None: as for ``data.scene``, else the scenes'
    own.
    """
    target: tuple[str, ...] | None = None
    """The stores with the target ``cube``, one for each of these scenes; None: as for ``data.scene``."""
    samples: tuple[str, ...] = ()
    """The ids of the samples for validation, where references are learned."""
    share: Share = 0
    """The share of the samples for validation, drawn by ``train.seed``, where references are learned."""
    fold: int = Field(default=0, ge=0)
    """Which part of the samples it is, of as many as ``share`` gives: so each sample is in one of 5 for 0.2."""
    every: int = Field(default=100, ge=1)
    """The number of steps between two validations; there is always one after the last step."""
    metric: str | None = None
    """The metric that is compared, such as ``iou``, ``miou``, ``oa``, ``kappa``; None: the first metric of the task."""
    patience: int = Field(default=0, ge=0)
    """The number of validations in a row without improvement after which the training ends; 0: it never ends early."""
    burn_in: int = Field(default=0, ge=0)
    """The number of first validations that do not count for ``patience``."""
    keep: Literal["best", "last"] = "best"
    """The weights of the model: those of the best validation (the earliest of equals), or the last ones."""
    tile: int | None = Field(default=None, ge=1)
    """The side of the tiles in pixels as in `tilespec predict --tile`; None: the model's default, the patch."""
    overlap: int | None = Field(default=None, ge=0)
    """The overlap of neighbouring tiles in pixels as in `tilespec predict --overlap`; None: the model's default."""
    norm: Literal["tile", "frozen"] = "tile"
    """The statistics of spatial norms, as in `tilespec predict --norm`."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("rows", "cols", mode="before")
    @classmethod
    def _spans(cls, value: Any) -> Any:
        return span(value)

    @property
    def held_out(self) -> bool:
        """Whether any region, or sample, is held out."""
        return any((self.rows, self.cols, self.scene, self.samples, self.share))


@final
class Data(SettingsTable):
    """The scenes and patches of the training."""

    scene: tuple[str, ...] = Field(min_length=1)
    """The scene, or a list of scenes."""
    labels: tuple[str, ...] | None = None
    """The stores with a ``labels`` layer, one for each scene; None: the scenes' own labels."""
    target: tuple[str, ...] | None = None
    """The stores with the target ``cube``, one for each scene, equal in size, with NaN for unknown values; for tasks
    that predict values and not classes, such as ``reconstruct``.
    """
    synthetic: tuple[str, ...] = ()
    """Scenes that are learned from as a whole besides those of ``scene``, with their own labels, such as those that
    ``tilespec synth`` writes; rows, columns and the test region do not apply to them. Tables of spectra too, where
    ``patch`` is 1."""
    rows: str | None = None
    """The training rows ``"A:B"``; None: all rows."""
    cols: str | None = None
    """The training columns ``"A:B"``; None: all columns."""
    test_rows: str | None = None
    """The rows of the test region; a training region that overlaps it is refused."""
    test_cols: str | None = None
    """The columns of the test region."""
    references: str | None = None
    """The CSV file of reference numbers, ``sample,NAME [UNIT],...`` with a row for each sample; for tasks that learn a
    map from means, such as ``chemmap``. A sample is a scene, with the name of its store as id, if ``samples`` is None.
    """
    columns: tuple[str, ...] = ()
    """The columns of ``references`` that are learned; none: all."""
    samples: str | None = None
    """The layer ``y, x`` of the scenes with the ids of samples, 0 for none; None: each scene is a sample."""
    mask: str | None = None
    """The layer ``y, x`` of the scenes, or the threshold on an index (``NDVI>0.3``), whose pixels are the sample, where
    each scene is one; None: all pixels."""
    tile: int | None = Field(default=None, ge=1, le=LARGEST)
    """The side in output pixels of the tiles by which a sample is computed with the same gradient and the memory of a
    tile, for nets that are exact on tiles; None: a sample is computed at once.
    """
    patch: int = Field(default=256, ge=1, le=LARGEST)
    """The side of a training patch in pixels, a multiple of the net's alignment."""
    patches: int = Field(default=500, ge=1, le=MOST)
    """The number of patches in an epoch."""
    window: int = Field(default=1, ge=1, le=MOST)
    """The number of neighbouring patches in sequence, so that a block is decoded once for several of them; use 1 if
    ``cache`` holds the scores of all scenes.
    """
    stratify: bool = False
    """Whether to cover the region evenly: an epoch takes one patch from each of ``patches`` equal parts of it."""
    balance: Literal["none", "labelled", "sqrt", "classes"] = "none"
    """The balance of classes in the draws: equal frequencies (``classes``), by the square root of sizes (``sqrt``), by
    sizes (``labelled``), all without unlabelled pixels, which are half of the draws where a task learns from them; or
    ``none``: all pixels are equally likely.
    """
    weight: str | None = None
    """The name of a ``y, x`` layer of the scene, or of its label store, with the relative probability of each pixel as
    a patch's centre.
    """
    shares: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """The relative frequency of each scene in the draws, those of ``synthetic`` last; None: by its size, or by the
    weights of its pixels."""
    augment: bool = True
    """Whether to turn and mirror patches by the 8 symmetries of the square, and to mirror samples along both axes."""
    drop_single_class: bool = False
    """Whether to draw ``patches`` once, drop those with one class, and draw from the others with replacement (as
    published).
    """
    adapt: bool = False
    """Whether to reduce the patch and the number of principal components to the size and the bands of the scene."""
    cache: int = Field(default=1 << 30, ge=0, le=SEEDS)
    """The bytes of decoded scores in memory, of all ranks together."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        return listed(value)

    @field_validator("rows", "cols", "test_rows", "test_cols", mode="before")
    @classmethod
    def _spans(cls, value: Any) -> Any:
        return span(value)


@final
class RecipeTable(SettingsTable):
    """The spectral steps before the net: none, steps to fit, or a fitted recipe."""

    steps: str | None = None
    """The steps to fit on the training region, such as ``"vsn,pca=4,scale"``."""
    path: str | None = None
    """The folder of a recipe from `tilespec fit`."""

    @model_validator(mode="after")
    def _one(self) -> "RecipeTable":
        if self.steps and self.path:
            raise ValueError("give steps or path, not both")
        return self

    @property
    def given(self) -> bool:
        """Whether there are any steps."""
        return bool(self.steps or self.path)


@final
class TaskTable(Named):
    """The predicted quantity, with the options of the task."""

    name: str = "segment"
    """The name of the task."""


@final
class NetTable(Named):
    """The generator, with the parameters of its architecture."""

    name: str = "unet"
    """The name of the net."""


@final
class ObjectiveTable(Named):
    """The objective of the training, with its options."""

    name: str = "cgan"
    """The name of the objective."""


@final
class ScheduleTable(Named):
    """The schedule of the learning rate, with its options."""


@final
class Train(SettingsTable):
    """The training loop with its steps and optimiser."""

    seed: int = Field(default=0, ge=0, le=SEEDS)
    """The seed of weights, patches and dropout."""
    start: str | None = None
    """The folder of a model whose weights the generator begins with, where names and shapes of tensors agree; the
    others, such as a last layer for other classes, are random.
    """
    steps: int = Field(default=700, ge=1, le=MOST)
    """The number of steps; a time limit would make the result depend on the machine."""
    batch: int = Field(default=2, ge=1, le=LARGEST)
    """The number of patches per step of all ranks together."""
    optimiser: Literal["adam", "adamw", "rmsprop", "sgd", "adagrad"] = "adamw"
    """The optimiser of every player."""
    rate: float = Field(default=2e-3, gt=0)
    """The learning rate after the warm-up."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """The betas of Adam and AdamW; the first is the momentum of SGD."""
    decay: float = Field(default=1e-4, ge=0)
    """The weight decay of the optimiser."""
    schedule: ScheduleTable = Field(default_factory=lambda: ScheduleTable(name="cosine"))
    """The schedule of the learning rate: a name, or a table such as ``{ name = "step", every = 500 }``."""
    warmup: int = Field(default=30, ge=0, le=MOST)
    """The number of steps of linear warm-up, after which the schedule begins."""
    floor: float = Field(default=0.02, ge=0, le=1)
    """The share of the rate at the end of falling schedules, or their lower limit."""
    accumulate: int = Field(default=1, ge=1)
    """The number of parts of a step's batch, computed in sequence with less memory and the same result (except batch
    norms).
    """
    clip: float | None = Field(default=None, gt=0)
    """The largest norm of the gradients of a player, above which they are scaled down; None: no limit."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """The decay of a running average of the generator's weights, which is then validated and published; 0: no average.
    """
    bad_steps: int = Field(default=10, ge=0)
    """The number of steps in a row that may be skipped because losses or gradients are NaN or infinite; one more ends
    the training.
    """
    checkpoint_every: int = Field(default=100, ge=1)
    """The number of steps between two checkpoints."""
    log_every: int = Field(default=1, ge=1)
    """The number of steps between two lines of ``log.jsonl``."""
    loaders: int = Field(default=1, ge=0, le=1024)
    """The number of threads that prepare batches ahead; 0: the loop prepares them itself."""
    bf16: bool = False
    """Whether to convolve in bfloat16, which is faster if convolutions dominate."""
    compile: bool = False
    """Whether to compile the nets with `torch.compile`: minutes at the start, faster steps; needs a C++ compiler on a
    CPU.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device of the nets."""
    tensorboard: bool = False
    """Whether to write the figures of ``log.jsonl`` as events for TensorBoard too; needs ``tilespec[tensorboard]``."""
    timeout: float = Field(default=120, ge=1, le=1e6)
    """The seconds without a sign of life after which a rank counts as lost and the others end."""
    restarts: int = Field(default=0, ge=0)
    """The number of times that ``--ranks`` and ``--cluster`` resume by themselves after the loss of a rank."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _table(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_serializer("schedule")
    def _name(self, schedule: ScheduleTable) -> str | dict[str, Any]:
        return {"name": schedule.name, **schedule.model_extra} if schedule.model_extra else schedule.name


@final
class AugmentTable(SettingsTable):
    """The augmentation of patches on the device, after the recipe, by strengths in units of the net's input; 0 is off.

    `tilespec.training.augment` defines each kind, docs/augment.md gives advice.
    """

    rotate: float = Field(default=0, ge=0, le=180)
    """The largest angle in degrees, in either direction."""
    shift: float = Field(default=0, ge=0)
    """The largest shift of the spectra in bands, in either direction."""
    reverse: float = Field(default=0, ge=0, le=1)
    """The share of the patches whose bands are reversed."""
    gain: float = Field(default=0, ge=0, lt=1)
    """The largest deviation of a patch's factor from 1."""
    slope: float = Field(default=0, ge=0)
    """The largest tilt: the change of the last band, and with opposite sign of the first band."""
    offset: float = Field(default=0, ge=0)
    """The largest constant that is added to all bands of a patch, with either sign."""
    background: float = Field(default=0, ge=0)
    """The largest height of a smooth curve over the bands that is added to a patch."""
    noise: float = Field(default=0, ge=0)
    """The standard deviation of normal noise, drawn for each value."""
    drop: float = Field(default=0, ge=0, lt=1)
    """The share of the bands of a patch that are set to 0; at least one band remains."""
    cutmix: float = Field(default=0, ge=0)
    """The parameter ``a`` of the Beta(a, a) distribution of a patch's own share; a box of its partner covers the
    remainder.
    """
    mixup: float = Field(default=0, ge=0)
    """The parameter ``a`` of the Beta(a, a) distribution of a patch's weight in the mixture with its partner."""
    own: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """The strengths of your own augmentations, which are applied last: ``{ "package.module:function" = 0.5 }``."""
    probability: dict[Kind, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """The probability of each kind for a patch: ``{ mixup = 0.5 }``; 1 for kinds that are not named."""


@final
class Config(SettingsTable):
    """The resolved configuration of a training."""

    model_config = ConfigDict(serialize_by_alias=True)

    data: Data
    """The scenes and patches of the training."""
    recipe: RecipeTable = RecipeTable()
    """The spectral steps before the net."""
    task: TaskTable = TaskTable()
    """The predicted quantity."""
    net: NetTable = NetTable()
    """The generator of the training."""
    objective: ObjectiveTable = ObjectiveTable()
    """The objective of the training."""
    train: Train = Train()
    """The training loop with its steps and optimiser."""
    augment: AugmentTable = AugmentTable()
    """The augmentation of patches on the device."""
    validation: Validate = Field(default=Validate(), alias="validate")
    """The validation during the training: the table ``[validate]``, whose name pydantic reserves for itself."""

    def deciding(self) -> dict[str, Any]:
        """Return, as plain data, the settings that decide the weights, without those of devices and speed."""
        plain = self.model_dump(mode="json")
        for table, key in EXECUTION:
            del plain[table][key]
        if self.recipe.path is not None:
            plain["recipe"]["path"] = Recipe.load(self.recipe.path).digest  # the digest does not depend on the folder
        if plain["train"].pop("start") is not None:
            plain["train"]["start"] = Model.load(str(self.train.start)).digest
        for key in STORES:
            stores = getattr(self.validation, key)
            plain["validate"][key] = stores if stores is None else [_content(store) for store in stores]
        return plain


def _content(store: str) -> str:
    """Return the hash of a store's contents, independent of its path."""
    return digests(store).store
