"""Blocks: the pieces in which a region of a scene is read, complete stored objects where possible."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from tilespec.core.types import Roi
from tilespec.storage.layout import CHUNK
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL, PixelSelection

BLOCK_BYTES = 1 << 28
"""The largest size of a block in bytes; larger chunks of foreign stores are read in parts."""
GROUP = 4
"""The number of blocks in one task, because opening a store costs as much as decoding a tenth of a block."""


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """A piece of a scene that is read at once."""

    url: str
    """The URL of the scene's store."""
    roi: Roi
    """The pixels of the block."""
    choice: PixelSelection = ALL
    """The selection of pixels in the block, and their weights."""
    within: Roi | None = None
    """The region that the block is a part of; neighbouring pixels outside of it are ignored."""


def blocks(scene: Scene, roi: Roi, choice: PixelSelection = ALL) -> list[Block]:
    """Return the blocks of ``roi`` in row order: complete stored objects where the region allows it."""
    height, width = edges(scene)
    while height > 1 and height * width * scene.shape[2] * 4 > BLOCK_BYTES:
        height = -(-height // 2)
    return [Block(url=scene.url, roi=piece, choice=choice, within=roi) for piece in roi.cut(height, width)]


def scenes(where: Sequence[Block]) -> dict[str, Scene]:
    """Return the scenes of blocks by URL; each is opened once, because that costs as much as decoding half a block."""
    return {url: Scene.open(url) for url in dict.fromkeys(block.url for block in where)}


def edges(scene: Scene) -> tuple[int, int]:
    """Return the height and the width of a block: those of a stored object, or multiples of them, about `CHUNK`."""
    height, width, _ = scene.chunks
    return height * max(1, CHUNK // height), width * max(1, CHUNK // width)
