"""TIAToolbox 2: its semantic segmentor on a whole scene, plain average, Zarr output.

Its readers do not know the scene's store (it reads Zarr 2 with NGFF 0.4), so it is given one of its own kind.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job import Clock, Job
from net import Network

from tilespec.models.nets.smp import OPERATORS
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import reflect

try:
    import torchvision  # noqa: F401
except RuntimeError:  # built for torch with CUDA, and torch is not: it lacks operators that nothing here calls
    for name in OPERATORS:
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float limit) -> Tensor")

from tiatoolbox.models.engine.io_config import IOSegmentorConfig
from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor
from tiatoolbox.models.models_abc import ModelABC
from tiatoolbox.wsicore.wsimeta import WSIMeta
from tiatoolbox.wsicore.wsireader import WSIReader

BASE = {"units": "baseline", "resolution": 1.0}
SPILLED = {"tiatoolbox": 80, "tiatoolbox-disk": 1}
"""Percent of the machine's memory above which rows of tiles go to disk: its default, and always."""


def run(job: Job, clock: Clock) -> dict[str, float]:
    """Run its engine; its product, a group named after the scene, is renamed."""
    with clock.working():
        network, folder = Network(job, job.threads), Path(f"{job.out}.engine")
        side = (job.tile, job.tile)
        tiled = {"patch_input_shape": side, "patch_output_shape": side, "stride_shape": (job.tile - job.overlap,) * 2}
        told = {
            "ioconfig": IOSegmentorConfig(input_resolutions=[BASE], output_resolutions=[BASE], **tiled),
            "output_type": "zarr",
            "save_dir": folder,
            "auto_get_mask": False,
            "return_probabilities": job.product == "planes",
            "memory_threshold": SPILLED[job.way],
        }
        engine = Engine(model=Served(network), batch_size=job.batch, verbose=False)
        engine.run([Reader(job.scene)], patch_mode=False, **told)
        next(folder.glob("*.zarr")).replace(job.out)
        shutil.rmtree(folder)
    return {"tiles": network.tiles}


class Reader(WSIReader):
    """The scene's store, reflected beyond its edges, as one of its readers."""

    def __init__(self, scene: str) -> None:
        super().__init__(scene)
        self.array = Scene.open(scene).array

    def _info(self) -> WSIMeta:
        return WSIMeta(slide_dimensions=self.array.shape[1::-1], axes="YXS", mpp=(1.0, 1.0))

    def read_bounds(self, bounds: Any, **_: Any) -> np.ndarray:
        """Return one tile ``y, x, channel``."""
        left, top, right, bottom = bounds
        rows, columns = (
            reflect(np.arange(first, last), length)
            for (first, last), length in zip(((top, bottom), (left, right)), self.array.shape, strict=False)
        )
        held = self.array[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if held.shape[:2] == (len(rows), len(columns)):
            return held
        return held[np.ix_(rows - rows.min(), columns - columns.min())]


class Engine(SemanticSegmentor):
    """The engine, whose tiles are read by the reader that it was given: by itself it opens another by its path."""

    def get_dataloader(self, images: Any, **options: Any) -> Any:
        loader = super().get_dataloader(images, **options)
        loader.dataset.reader = images
        return loader


class Served(ModelABC):
    """The network as one of its models."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.network(tiles.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    @staticmethod
    def infer_batch(model: Any, batch_data: torch.Tensor, *, device: str) -> np.ndarray:
        """Return the predictions ``tile, y, x, channel`` of tiles."""
        del device
        return model(batch_data).contiguous().numpy()

    @staticmethod
    def postproc(planes: Any) -> Any:
        """Return the classes."""
        return planes.argmax(axis=-1).astype(np.uint8)
