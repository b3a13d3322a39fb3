"""Begin products and trainings, and finish copies of them: what `test_continuity` goes on with, in ``begun.tar.xz``.

``python tests/continuity/begin.py`` writes the archive anew. That is right only after a change that is meant to give
other bytes or other fingerprints (another ``NUMERICS``, another record format), and CHANGELOG.md then says so.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import torch

ARCHIVE = Path(__file__).parent / "begun.tar.xz"
PLACE = "/begun"
"""Stands in the archive for the folder in which it was made."""
WRITTEN = 10**9
"""When all sources were written, in seconds: `ingest` compares it."""
NET = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "batch", "init": "kaiming"}
JUDGE = {"name": "patchgan", "base_width": 4, "n_layers": 1, "norm": "channel", "init": "kaiming"}
CONFIG = {
    "data": {"scene": "scene", "patch": 16, "patches": 6, "rows": "0:32"},
    "recipe": {"steps": "pca=3,scale"},
    "net": NET,
    "objective": {"name": "cgan", "discriminator": JUDGE, "separate": True},
    "train": {"steps": 8, "batch": 2, "warmup": 2, "checkpoint_every": 3, "ema": 0.9},
    "validate": {"rows": "36:48", "every": 4},
}
UNFINISHED = {
    "simulated": ("simulate", (), {"rows": 300, "cols": 40, "bands": 4, "plants": 1}, 0.006),
    "ingested": ("ingest", ("exported.hdr",), {}, 129),
    "transformed": ("transform", ("recipe", "tall"), {}, 1),
    "rendered": ("render", ("tall",), {"dtype": "uint8"}, 1),
    "predicted": ("predict", ("model", "tall"), {"tile": 32, "overlap": 16, "probabilities": True}, 9),
    "trained": ("train", (CONFIG,), {}, 5),
}
"""Product to verb, what comes before OUT, options, and the units of progress after which the command is interrupted."""


class After:
    """A progress that interrupts the command when so many units are done."""

    def __init__(self, units):
        self.left = units

    def say(self, text): ...

    def start(self, what, total, unit): ...

    def advance(self, units, note=""):
        self.left -= units
        if self.left <= 0:
            raise KeyboardInterrupt

    def finish(self): ...


def run(name, **options):
    """Run the command of a product, from the folder that holds its sources."""
    from tilespec import api

    verb, before, own, _ = UNFINISHED[name]
    torch.set_num_threads(1)  # the bits of a training depend on it, and what ran before may have changed it
    return getattr(api, verb)(*before, name, **own, **options)


def hardware():
    """Hash float32 arithmetic: where it differs, the bits of results may differ in the last places."""
    torch.manual_seed(0)
    values = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    planes = torch.nn.Conv2d(4, 8, 3)(torch.from_numpy(values.reshape(1, 4, 16, 48))).detach().numpy()
    return hashlib.sha256((values.T @ values).tobytes() + planes.tobytes()).hexdigest()


def same_hardware(stored):
    """Return whether this machine computes as that of the archive, which had AVX-512: exponentials differ without."""
    return hardware() == stored and torch.backends.cpu.get_cpu_capability() == "AVX512"


def facts(name):
    """Return what has to stay: fingerprints and digests of a product, a model or a recipe."""
    if Path(name, "model.json").exists():
        return {"digest": json.loads(Path(name, "model.json").read_text())["digest"]}
    if Path(name, "recipe.json").exists():
        return {"digest": json.loads(Path(name, "recipe.json").read_text())["digest"]}
    attrs = json.loads(Path(name, "zarr.json").read_text())["attributes"]
    kept = json.loads(Path(f"{name}.tilespec", "settings.json").read_text())
    return {"digest": attrs["tilespec_digest"], "settings": kept}


def sources():
    """Write the scenes, the recipe and the model from which products are begun."""
    sys.path.append(str(ARCHIVE.parents[1] / "support"))
    from scenes import write_scene

    from tilespec import api

    write_scene("scene", 48, 40, 18, seed=1, nan=0.01, unlabelled=0.1, dtype="uint16", chunk=16)
    write_scene("tall", 300, 16, 18, seed=1, nan=0.01, labelled=False, dtype="uint16", chunk=32)
    api.fit("scene", "recipe", steps="snv,sg=3:1,vsn,pca=3,scale")
    api.train(CONFIG | {"train": {"steps": 2, "batch": 2}, "validate": {}}, out="model")
    api.baseline("plsda", "scene", "plsda", opening=1, components=2)
    api.export("tall", "exported.hdr")
    for path in Path().glob("exported.*"):
        os.utime(path, (WRITTEN, WRITTEN))


def begin(name):
    """Run the command of a product until it is interrupted."""
    units = UNFINISHED[name][3]
    try:
        run(name, progress=After(units))
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError(f"{name} was not interrupted after {units} units")


def written(folder):
    """Yield every file of a folder that is kept: not what says how a run went."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("lock.json", "lock"):
            yield path


def add(archive, name, data):
    """Put a file into the archive, as if it had been written at the one moment that all sources are said to be from."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), WRITTEN
    archive.addfile(entry, io.BytesIO(data))


def fingerprints(text):
    """Return the fingerprints of products that know where their sources lie, to those that they have in `PLACE`."""
    from tilespec.core.fingerprint import fingerprint

    settings = [path.read_text() for path in Path().glob("*.tilespec/settings.json")]
    return {fingerprint(json.loads(old)): fingerprint(json.loads(old.replace(text, PLACE))) for old in settings}


def make():
    """Write the archive."""
    with tempfile.TemporaryDirectory() as text, chdir(text), tarfile.open(ARCHIVE, "w:xz") as archive:
        place = Path(text)
        sources()
        for name in UNFINISHED:
            begin(name)
        renamed = fingerprints(text)
        for path in written(place):
            data = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                data = data.replace(os.fsencode(text), PLACE.encode())
            add(archive, str(Path("begun", *(renamed.get(part, part) for part in path.relative_to(place).parts))), data)
        for name in UNFINISHED:
            run(name)
            for path in written(place / name):
                if name != "trained" or path.name == "model.safetensors":
                    add(archive, str(Path("finished", path.relative_to(place))), path.read_bytes())
        expected = {name: facts(name) for name in ("recipe", "model", "plsda.model", "plsda", *UNFINISHED)}
        said = json.dumps({"hardware": hardware(), "facts": expected}, indent=1).replace(text, PLACE)
        add(archive, "expected.json", said.encode())


if __name__ == "__main__":
    make()
