"""tilespec, through its public verbs."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from job import Clock
from ours import start
from plain import loadings, save
from stage_job import Stage

import tilespec.ingest.ingest
import tilespec.spectra.fit
import tilespec.spectra.transform
from tilespec.core.memory import one_heap
from tilespec.models.tasks import task
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.data.loader import Loader
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.targets import LabelTarget
from tilespec.training.data.training_set import TrainingRegion

CACHE = 1 << 30
"""Bytes of blocks that training keeps: the default of its configuration."""
BACKGROUND = 128
"""Side of an object of labels."""


def ingest(job: Stage, clock: Clock) -> dict[str, Any]:
    one_heap()  # as the command line does
    with clock.working():
        told = tilespec.ingest.ingest.ingest(job.source, job.out, white=job.white, dark=job.dark)
    return {"digest": told["digest"], "bytes": Path(job.source).with_suffix(".bil").stat().st_size}


def fit(job: Stage, clock: Clock) -> dict[str, Any]:
    told = _verb(job, clock, lambda cluster: _fit(job, job.out, cluster))
    save(job, loadings(Stage(**{**vars(job), "recipe": job.out}))[1])
    return {"digest": told["digest"], "bytes": told["bytes_to_read"]}


def transform(job: Stage, clock: Clock) -> dict[str, Any]:
    told = _verb(job, clock, lambda cluster: _transform(job, job.recipe, cluster))
    return {"bytes": told["bytes_to_read"], "digest": Scene.open(job.out).digest}


def preprocess(job: Stage, clock: Clock) -> dict[str, Any]:
    folder = f"{job.out}.recipe"

    def both(cluster: str | None) -> dict[str, Any]:
        fitted = _fit(job, folder, cluster)
        written = _transform(job, folder, cluster)
        both = {key: fitted[key] + written[key] for key in ("startup_seconds", "bytes_to_read")}
        return written | both

    told = _verb(job, clock, both)
    return {"bytes": told["bytes_to_read"]}


def patches(job: Stage, clock: Clock) -> dict[str, Any]:
    """Read patches as training does: scores and labels (here one object of zeros), turned and mirrored."""
    one_heap()
    scene = Scene.open(job.source)
    labels = _labels(f"{job.out}.labels", scene.shape[:2])
    with clock.working():
        ground = TrainingRegion(scene=scene, roi=scene.roi, truth=LabelTarget.open(labels))
        blocks = ScoreCache((ground,), Recipe.empty(scene.shape[2], scene.spectral), CACHE)
        law = PatchStream(seed=0, regions=(scene.roi,), side=job.side, patches=job.patches)
        segment = task({"name": "segment", "classes": 2})
        loader = Loader(law, blocks, segment, batch=job.batch, share=range(job.batch), threads=job.threads)
        read = sum(batch.x.nbytes for batch in loader.batches(0, job.patches // job.batch))
    return {"bytes": read, "patches": job.patches, "amplification": blocks.decoded / blocks.used}


def _verb(job: Stage, clock: Clock, verb: Callable[[str | None], dict[str, Any]]) -> dict[str, Any]:
    """Run a verb; starting workers, and their imports, is not work."""
    one_heap()
    with ExitStack() as stack:
        with clock.starting():
            cluster = start(job.workers, stack, imports)
        with clock.working():
            told = verb(cluster)
    clock.startup += told["startup_seconds"]
    clock.seconds -= told["startup_seconds"]
    return told


def imports() -> None:
    """Do nothing: that this module is there means that what a task needs is imported."""


def _fit(job: Stage, out: str, cluster: str | None) -> dict[str, Any]:
    return tilespec.spectra.fit.fit(job.source, out, steps=job.steps, workers=job.workers, cluster=cluster)


def _transform(job: Stage, recipe: str, cluster: str | None) -> dict[str, Any]:
    return tilespec.spectra.transform.transform(recipe, job.source, job.out, workers=job.workers, cluster=cluster)


def _labels(out: str, shape: tuple[int, int]) -> str:
    """Write labels of zeros."""
    array = zarr.create_group(out).create_array("labels", shape=shape, chunks=(BACKGROUND,) * 2, dtype="uint8")
    array[...] = np.uint8(0)
    return out
