"""Settings: what can be written in the configuration of a training, table by table."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from tilespec.spectra.recipe import Recipe
from tilespec.storage.group import open_group

STORES = ("scene", "labels", "target")
"""Keys that name stores, one or a list."""
Kind = Literal[
    "rotate", "shift", "reverse", "gain", "slope", "offset", "background", "noise", "drop", "cutmix", "mixup"
]
"""Of augmentation, in the order in which they are applied."""

EXECUTION = (
    ("data", "cache"),
    ("data", "scene"),
    ("data", "labels"),
    ("data", "target"),
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
"""Settings that may change when a training is resumed; scenes, labels and targets are compared by what they hold."""


class Table(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Named(BaseModel):
    """A table whose further keys belong to the plug-in that it names."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: str
    """In the table of plug-ins, or the dotted path ``package.module:Name`` of one of your own."""


def listed(given: Any) -> Any:
    """Return a table in which one scene, or one store of labels or of a target, is a list of one."""
    if not isinstance(given, Mapping):
        return given
    return {k: [v] if k in STORES and isinstance(v, str) else v for k, v in given.items()}


@final
class Validate(Table):
    """What a training is judged on while it goes on: by `tilespec predict` itself, on pixels that it never learns from.

    Nothing is held out as long as rows, cols and scene are all None.
    """

    rows: str | None = None
    """``"A:B"``: rows that are held out; they overlap neither the training nor the test region."""
    cols: str | None = None
    """``"A:B"``: columns that are held out."""
    scene: tuple[str, ...] | None = None
    """One other scene or a list, of which rows and cols are; None: those of ``data.scene``."""
    labels: tuple[str, ...] | None = None
    """Stores with a ``labels`` layer, one for each of these scenes; None: as for ``data.scene``, else their own."""
    target: tuple[str, ...] | None = None
    """Stores whose ``cube`` should be answered, one for each of these scenes; None: as for ``data.scene``."""
    every: int = Field(default=100, ge=1)
    """Steps between two validations; the last step is always followed by one."""
    metric: str | None = None
    """What is compared, such as ``iou``, ``miou``, ``oa``, ``kappa``; None: the task's first."""
    patience: int = Field(default=0, ge=0)
    """Validations in a row without a better one after which the training ends; 0: it never ends early."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: those of the best validation (of equals, the earliest), or the last ones."""
    tile: int | None = Field(default=None, ge=1)
    """Side of the tiles as in `tilespec predict --tile`; None: the model's own, the patch."""
    overlap: int | None = Field(default=None, ge=0)
    """Pixels that neighbouring tiles share, as in `tilespec predict --overlap`; None: the model's own."""
    norm: Literal["tile", "frozen"] = "tile"
    """Statistics of norms over space, as in `tilespec predict --norm`."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        return listed(given)

    @property
    def held_out(self) -> bool:
        """Whether anything is."""
        return any((self.rows, self.cols, self.scene))


@final
class Data(Table):
    """What the net learns from."""

    scene: tuple[str, ...] = Field(min_length=1)
    """One scene or a list."""
    labels: tuple[str, ...] | None = None
    """Stores with a ``labels`` layer, one for each scene; None: the scenes' own."""
    target: tuple[str, ...] | None = None
    """Stores whose ``cube`` the net should answer, one for each scene and pixel by pixel, NaN where it is unknown; for
    tasks that learn values and not classes, such as ``reconstruct``."""
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
    """Neighbouring patches that follow each other, so that a block is decoded once for several of them; 1 while
    ``cache`` holds the scores of all scenes."""
    stratify: bool = False
    """Cover the region evenly: an epoch takes one patch from each of ``patches`` equal parts of it."""
    balance: Literal["none", "sqrt", "classes"] = "none"
    """Draw pixels so that classes come equally often (``classes``), or by the square root of their sizes (``sqrt``)."""
    weight: str | None = None
    """A ``y, x`` layer of the scene, or of its label store: how likely a pixel is a patch's centre; 0 never is."""
    shares: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """How often each scene is drawn, one number for each; None: by its size, or by the weights of its pixels."""
    augment: bool = True
    """Turn and mirror patches: the 8 symmetries of the square."""
    drop_single_class: bool = False
    """Draw ``patches`` once, drop those of one class, then draw from the kept with replacement (as published)."""
    adapt: bool = False
    """Shrink patch and principal components to what the scene allows."""
    cache: int = Field(default=1 << 30, ge=0)
    """Bytes of scores kept decoded, by all ranks together."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        return listed(given)


@final
class RecipeTable(Table):
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

    @property
    def given(self) -> bool:
        """Whether there are any steps."""
        return bool(self.steps or self.path)


@final
class TaskTable(Named):
    """What is predicted; options of the task."""

    name: str = "segment"
    """Of the task."""


@final
class NetTable(Named):
    """The generator; parameters of the architecture."""

    name: str = "unet"
    """Of the net."""


@final
class ObjectiveTable(Named):
    """How it is learned; options of the objective."""

    name: str = "cgan"
    """Of the objective."""


@final
class ScheduleTable(Named):
    """How the learning rate goes on; options of the schedule."""


@final
class Train(Table):
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
    schedule: ScheduleTable = Field(default_factory=lambda: ScheduleTable(name="cosine"))
    """Of the learning rate: a name, or a table such as ``{ name = "step", every = 500 }``."""
    warmup: int = Field(default=30, ge=0)
    """Steps of linear warm-up; the schedule begins after them."""
    floor: float = Field(default=0.02, ge=0, le=1)
    """Share of the rate that schedules which fall end at, or never go below."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a step's batch is cut into, one after another: less memory, the same step (but for batch norms)."""
    clip: float | None = Field(default=None, gt=0)
    """Norm that the gradients of a player are shortened to; None: they stay as they are."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a running average of the generator's weights, which is judged and published then; 0: none is kept."""
    bad_steps: int = Field(default=10, ge=0)
    """Steps in a row that are skipped because losses or gradients are no numbers; one more ends the training."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between two checkpoints."""
    log_every: int = Field(default=1, ge=1)
    """Steps between two lines of ``log.jsonl``."""
    loaders: int = Field(default=1, ge=0)
    """Threads that prepare batches ahead; 0: the loop prepares them itself."""
    bf16: bool = False
    """Convolve in bfloat16: faster where convolutions dominate."""
    compile: bool = False
    """Compile the nets with `torch.compile`: minutes at the start, faster steps; needs a C++ compiler on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the nets live."""
    tensorboard: bool = False
    """Write what ``log.jsonl`` says as events for TensorBoard too; needs ``tilespec[tensorboard]``."""
    timeout: float = Field(default=120, ge=1)
    """Seconds that a rank may be silent before the others take it for gone and end."""
    restarts: int = Field(default=0, ge=0)
    """How often ``--ranks`` and ``--cluster`` resume by themselves after the loss of a rank."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _table(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @field_serializer("schedule")
    def _name(self, schedule: ScheduleTable) -> str | dict[str, Any]:
        return {"name": schedule.name, **schedule.model_extra} if schedule.model_extra else schedule.name


@final
class AugmentTable(Table):
    """What happens to patches on the device, after the recipe: strengths, in units of what the net reads; 0 is off.

    `tilespec.training.augment` says what each kind does, docs/augment.md when it helps.
    """

    rotate: float = Field(default=0, ge=0, le=180)
    """Largest angle in degrees, either way."""
    shift: float = Field(default=0, ge=0)
    """Largest shift of the spectra in bands, either way."""
    reverse: float = Field(default=0, ge=0, le=1)
    """Share of the patches whose bands come in reverse order."""
    gain: float = Field(default=0, ge=0, lt=1)
    """Largest deviation of a patch's factor from 1."""
    slope: float = Field(default=0, ge=0)
    """Largest tilt: what the first band loses the last one gains, or the other way round."""
    offset: float = Field(default=0, ge=0)
    """Largest constant that all bands of a patch are moved by, either way."""
    background: float = Field(default=0, ge=0)
    """Largest height of a smooth curve over the bands that is added to a patch."""
    noise: float = Field(default=0, ge=0)
    """Deviation of normal noise, drawn for each value."""
    drop: float = Field(default=0, ge=0, lt=1)
    """Share of the bands of a patch that are 0; one band at least is left."""
    cutmix: float = Field(default=0, ge=0)
    """``a`` of the Beta(a, a) that says how much of a patch stays its own; a box of its partner covers the rest."""
    mixup: float = Field(default=0, ge=0)
    """``a`` of the Beta(a, a) that says what a patch weighs in the mixture with its partner."""
    own: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Strengths of augmentations of your own: ``{ "package.module:function" = 0.5 }``; they come after all others."""
    probability: dict[Kind, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """How likely each kind is for a patch: ``{ mixup = 0.5 }``; 1 for those that are not named."""


@final
class Config(Table):
    """A training, resolved."""

    model_config = ConfigDict(serialize_by_alias=True)

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
    augment: AugmentTable = AugmentTable()
    """What happens to patches on the device."""
    validation: Validate = Field(default=Validate(), alias="validate")
    """What it is judged on meanwhile: the table ``[validate]``, a name that pydantic keeps for itself."""

    def deciding(self) -> dict[str, Any]:
        """Return, as plain data, the settings that decide the weights: not where and how fast they are computed."""
        plain = self.model_dump(mode="json")
        for table, key in EXECUTION:
            del plain[table][key]
        if self.recipe.path is not None:
            plain["recipe"]["path"] = Recipe.load(self.recipe.path).digest  # the recipe, wherever it lies
        for key in STORES:
            stores = getattr(self.validation, key)
            plain["validate"][key] = stores if stores is None else [_content(store) for store in stores]
        return plain


def _content(store: str) -> str:
    """Return the hash of what a store holds, wherever it lies; its place where no run has left one."""
    return str(open_group(store).attrs.get("tilespec_digest", store))
