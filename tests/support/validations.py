"""The validation of a small training, with nets for it to judge."""

from tilespec.storage.backends.paths import store_path
from tilespec.training.config import resolve
from tilespec.training.ranks.group import Ranks
from tilespec.training.setup import Setup, prepared, recipe_of
from tilespec.training.validation.validation import Validation

NET = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming"}
ROWS, COLS = "61:90", "3:60"
KEPT = [f"scores-0{kind}.zarr{end}" for kind in ("-truth", "") for end in ("", ".tilespec")]
NETS = {
    "exact": ({}, {}),
    "frozen": ({"norm": "instance"}, {"norm": "frozen", "overlap": 9}),
    "tile statistics": ({"norm": "batch", "live": True}, {"tile": 24, "overlap": 16}),
    "dropout": ({"dropout": 0.5, "live": True}, {"tile": 20, "overlap": 7}),
}


def tables(scene, *, net=None, **given):
    base = {
        "data": {"scene": scene, "patch": 16, "patches": 6, "rows": "0:60"},
        "recipe": {"steps": "snv,pca=3,scale"},
        "net": {**NET, **(net or {})},
        "objective": {"name": "supervised"},
        "train": {"steps": 6, "batch": 2, "checkpoint_every": 2},
        "validate": {"rows": ROWS, "cols": COLS, "every": 2},
    }
    return {name: {**base.get(name, {}), **given.get(name, {})} for name in {*base, *given}}


def judge(scene, folder, **given):
    """Return the judge of a training, and nets to be judged."""
    config, corpus, _ = prepared(resolve(tables(scene, **given)), 1)
    recipe = recipe_of(config, corpus, store_path(folder), Ranks())
    cast = Setup.of(config, recipe.bands_out)
    return Validation.of(config, corpus, cast, recipe, store_path(folder))


def weights(of, seed=0):
    return of.cast.nets(seed)["generator"].state_dict()
