"""Blocks: the pieces that a region of a scene is read in, whole stored objects where that is possible."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from tilespec.core.types import Roi
from tilespec.storage.layout import CHUNK
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL, Choice

BLOCK_BYTES = 1 << 28
"""Largest block; chunks of foreign stores above this are read in parts."""
GROUP = 4
"""Blocks of one task: opening a store costs as much as decoding a tenth of a block."""


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of a scene that is read at once."""

    url: str
    """The scene's store."""
    roi: Roi
    """Which pixels."""
    choice: Choice = ALL
    """Which of them are seen, and how much each counts."""
    within: Roi | None = None
    """The region that it is a part of: neighbours of its pixels that lie outside are not looked at."""


def blocks(scene: Scene, roi: Roi, choice: Choice = ALL) -> list[Block]:
    """Return the blocks that ``roi`` falls into, in row order: whole stored objects where the region allows it."""
    height, width = (_edge(size) for size in scene.chunks[:2])
    while height > 1 and height * width * scene.shape[2] * 4 > BLOCK_BYTES:
        height = -(-height // 2)
    return [
        Block(
            url=scene.url,
            roi=Roi(y0=max(y, roi.y0), y1=min(y + height, roi.y1), x0=max(x, roi.x0), x1=min(x + width, roi.x1)),
            choice=choice,
            within=roi,
        )
        for y in range(roi.y0 // height * height, roi.y1, height)
        for x in range(roi.x0 // width * width, roi.x1, width)
    ]


def scenes(where: Sequence[Block]) -> dict[str, Scene]:
    """Return the scenes of blocks, each opened once: that costs as much as decoding half a block."""
    return {url: Scene.open(url) for url in dict.fromkeys(block.url for block in where)}


def _edge(chunk: int) -> int:
    """Return a block's edge: a multiple of the stored object's, about `CHUNK`."""
    return chunk * max(1, CHUNK // chunk)
