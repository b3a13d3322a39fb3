"""KonfAI: its streaming accumulator. Rows that no later tile touches leave it as a slab, written at once."""

import numpy as np
import torch
from job import Clock, Job
from konfai.data.patching import Cosinus, StreamingAccumulator
from konfai.utils.utils import get_patch_slices_from_shape
from net import Network, batches, create, read_tile

from tilespec.storage.scene import Scene


def run(job: Job, clock: Clock) -> dict[str, float]:
    """Read tile by tile, blend in a window of one row of tiles, write every slab: whole rows of objects."""
    with clock.working(), torch.inference_mode():
        network, array = Network(job, job.threads), Scene.open(job.scene).array
        plane = array.shape[:2]
        out = Out(job, network.channels[1], plane)
        merge, corners = blended(job, plane)
        for some in batches(list(enumerate(corners)), job.batch):
            tiles = np.stack([read_tile(array, corner, job.tile) for _, corner in some])
            answers = network(torch.from_numpy(tiles).permute(0, 3, 1, 2))
            for answer, (number, _) in zip(answers, some, strict=True):
                out.write(merge.add_layer(number, answer.contiguous()))
        out.write(merge.finalize())
    return {"tiles": network.tiles}


def blended(job: Job, plane: tuple[int, int]) -> tuple[StreamingAccumulator, list[tuple[int, int]]]:
    """Return the accumulator with KonfAI's raised cosine, and the corners of KonfAI's own tiles in their order."""
    window = Cosinus()
    window.set_patch_config([job.tile, job.tile], job.overlap)
    boxes = get_patch_slices_from_shape([job.tile, job.tile], list(plane), job.overlap)
    merge = StreamingAccumulator(boxes, [job.tile, job.tile], window, batch=False)
    return merge, [(y.start, x.start) for y, x in boxes]


class Out:
    """The product, to which slabs ``channel, y, x`` are written."""

    def __init__(self, job: Job, channels: int, plane: tuple[int, int]) -> None:
        self.classes = job.product == "classes"
        shape, dtype = (plane, "uint8") if self.classes else ((channels, *plane), "float32")
        self.array = create(job.out, shape, dtype, channel_first=not self.classes)

    def write(self, slabs: list[tuple[slice, torch.Tensor]]) -> None:
        """Write finished rows as classes or as they are."""
        for rows, slab in slabs:
            if self.classes:
                self.array[rows] = slab.argmax(0).to(torch.uint8).numpy()
            else:
                self.array[:, rows] = slab.numpy()
