"""What the stages are run on: raw counts and scenes of three sizes, the scores of these, a recipe for each."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

import scenes
from envi_files import cropped, repeated
from scenes import BANDS, COLS, LONGER, ROWS, SIDE, whole

from tilespec.core.progress import Lines
from tilespec.ingest.ingest import ingest
from tilespec.simulate.simulate import simulate
from tilespec.spectra.fit import fit

STEPS = "vsn,pca=4"


@final
@dataclass(frozen=True, kw_only=True)
class Data:
    """Where everything is; what is not there is made when it is asked for."""

    scratch: Path
    """Folder of everything that is made."""
    raw: Path
    """Folder of the counts of size F: raw, white and dark."""
    scene: Path
    """Their scene."""

    def inputs(self, work: str, size: str) -> dict[str, str]:
        """Return what a job of a work reads."""
        if work == "ingest":
            return {name: str(path) for name, path in self.counts(size).items()}
        data = "scores" if work == "patches-scores" else "raw"
        found = {"source": str(self.cube(data, size))}
        if work in ("fit", "transform"):
            found |= {"recipe": str(self.recipe(size))}
        if work == "fit":
            found |= {"reference": str(self.scratch / f"reference-{size}.npy")}
        return found

    def counts(self, size: str) -> dict[str, Path]:
        """Return the headers of the raw counts, of white and of dark."""
        given = {name: self.raw / f"{file}.hdr" for name, file in FILES.items()}
        if size == "F":
            return given
        folder = self.scratch / f"counts-{size}"
        made = {name: folder / path.name for name, path in given.items()} if size == "S" else given
        made |= {"source": folder / given["source"].name}
        for name, path in made.items():
            if not path.exists():
                _ = cropped(given[name], path, SIDE, SIDE) if size == "S" else repeated(given[name], path, LONGER)
        return made

    def cube(self, data: str, size: str) -> Path:
        """Return the raw cube or its scores in one of the sizes."""
        recipe = self.recipe("F") if data == "scores" else Path()
        return scenes.Data(scratch=self.scratch, raw=self.scene, recipe=recipe).scene(data, size)

    def recipe(self, size: str) -> Path:
        """Return a recipe fitted on the scene of a size."""
        out = self.scratch / f"recipe-{size}"
        if not (out / "recipe.json").exists():
            fit(str(self.cube("raw", size)), str(out), steps=STEPS, progress=Lines())
        return out

    def free(self, size: str) -> None:
        """Remove what takes much space: the counts of the long scene."""
        if size == "L":
            shutil.rmtree(self.scratch / "counts-L", ignore_errors=True)


FILES = {"source": "raw", "white": "white", "dark": "dark"}


def prepare(scratch: Path, raw: Path | None, scene: Path | None) -> Data:
    """Simulate the counts and ingest them, unless they are given or there already."""
    scratch.mkdir(parents=True, exist_ok=True)
    counts, cube = raw or scratch / "counts-F", scene or scratch / "raw-F.zarr"
    if not (counts / "raw.hdr").exists():
        simulate(str(counts), rows=ROWS, cols=COLS, bands=BANDS, raw=True, progress=Lines())
    names = {name: str(counts / f"{file}.hdr") for name, file in FILES.items()}
    if not whole(cube):
        ingest(names["source"], cube, white=names["white"], dark=names["dark"], progress=Lines())
    return Data(scratch=scratch, raw=counts, scene=cube)
