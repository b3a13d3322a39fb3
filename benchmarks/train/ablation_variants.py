"""What is compared: variants of trainings and of predictions, in the order in which they are run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

Changes = Mapping[str, Mapping[str, Any]]
METHODS, ABLATION = "methods", "ablation"


@final
@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    """In results and tables."""
    about: str
    """One line for the table."""
    group: str = ABLATION
    """The table it belongs to."""
    preset: str = "best"
    """What is trained; empty: a baseline, nothing is trained."""
    baseline: str = ""
    """Name of a classical method."""
    changes: Changes = field(default_factory=dict)
    """Tables over the preset's: a table with a name replaces it, another one is put over it."""
    share: float = 1.0
    """Share of the steps that its group is given."""
    overlap: float | None = None
    """Of the prediction, as a share of the tile; None: the default of `tilespec predict`, which is half."""
    predict: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the prediction."""
    seeded: bool = True
    """Whether its result depends on a seed."""


def patchgan(width: int) -> dict[str, Any]:
    """Return the discriminator of the preset demo."""
    return {"name": "patchgan", "base_width": width, "n_layers": 3, "norm": "batch", "init": "kaiming"}


def adversarial(weight: float) -> Changes:
    """Return cross-entropy with an adversarial term."""
    options = {"loss": "cross_entropy", "fidelity": 1.0, "adversarial": weight, "discriminator": patchgan(16)}
    return {"objective": {"name": "cgan", **options}}


VARIANTS = (
    Variant(name="best", about="preset best", group=METHODS),
    Variant(name="plsda", about="VSN, 6 latent variables", group=METHODS, preset="", baseline="plsda"),
    Variant(name="ndvi", about="NDVI > 0.69", group=METHODS, preset="", baseline="ndvi", seeded=False),
    Variant(name="best-tenth", about="preset best, a tenth of the steps of mishra2021", group=METHODS, share=0.3),
    Variant(
        name="mishra2021", about="pix2pix as published, but for width and steps", group=METHODS, preset="mishra2021"
    ),
    Variant(
        name="best-flips",
        about="preset best, predicted as the mean over the eight symmetries of the square",
        group=METHODS,
        predict={"flips": True},
    ),
    Variant(
        name="mishra2021-l1",
        about="the same generator and loss without an adversary",
        group=METHODS,
        preset="mishra2021",
        changes={"objective": {"name": "supervised", "loss": "l1"}},
    ),
    Variant(name="base", about="preset best"),
    Variant(name="adversarial-0.02", about="cross-entropy + 0.02 adversarial", changes=adversarial(0.02)),
    Variant(name="adversarial-0.2", about="cross-entropy + 0.2 adversarial", changes=adversarial(0.2)),
    Variant(name="vsn", about="VSN before the PCA", changes={"recipe": {"steps": "vsn,pca=3,scale"}}),
    Variant(name="pca-2", about="2 components", changes={"recipe": {"steps": "pca=2,scale"}}),
    Variant(name="pca-4", about="4 components", changes={"recipe": {"steps": "pca=4,scale"}}),
    Variant(name="pca-8", about="8 components", changes={"recipe": {"steps": "pca=8,scale"}}),
    Variant(name="vsn-pca-4", about="VSN and 4 components, scaled", changes={"recipe": {"steps": "vsn,pca=4,scale"}}),
    Variant(
        name="full-spectrum",
        about="every band, scaled",
        changes={"recipe": {"steps": "scale"}, "data": {"cache": 6 << 30}},
    ),
    Variant(name="overlap-0", about="tiles side by side", overlap=0.0),
    Variant(name="overlap-25", about="tiles share a quarter", overlap=0.25),
    Variant(name="overlap-75", about="tiles share three quarters", overlap=0.75),
    Variant(name="unblended", about="half shared, each pixel from one tile", predict={"window": "none"}),
    Variant(name="patch-256", about="a quarter as many patches of 256", changes={"data": {"patch": 256}}),
    Variant(name="patch-512", about="one patch of 512", changes={"data": {"patch": 512}}),
    Variant(name="batch-norm", about="frozen at prediction", changes={"net": {"norm": "batch"}}),
    Variant(name="channel-norm", about="over the channels of each pixel", changes={"net": {"norm": "channel"}}),
    Variant(name="not-balanced", about="pixels of all classes alike", changes={"data": {"balance": "none"}}),
    Variant(name="not-turned", about="patches neither turned nor mirrored", changes={"data": {"augment": False}}),
)


def in_order(seeds: int, chosen: list[str] | None) -> Iterator[tuple[Variant, int]]:
    """Yield variants and seeds, what tells most first: all methods, then the ablation, one seed after another."""
    for group in (METHODS, ABLATION):
        for seed in range(seeds):
            for one in VARIANTS:
                wanted = chosen is None or one.name in chosen or one.group in chosen
                if one.group == group and wanted and (one.seeded or not seed):
                    yield one, seed
