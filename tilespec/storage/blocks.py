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
    height, width = edges(scene)
    while height > 1 and height * width * scene.shape[2] * 4 > BLOCK_BYTES:
        height = -(-height // 2)
    return [Block(url=scene.url, roi=piece, choice=choice, within=roi) for piece in roi.cut(height, width)]


def scenes(where: Sequence[Block]) -> dict[str, Scene]:
    """Return the scenes of blocks, each opened once: that costs as much as decoding half a block."""
    return {url: Scene.open(url) for url in dict.fromkeys(block.url for block in where)}


def edges(scene: Scene) -> tuple[int, int]:
    """Return height and width of a block: those of a stored object, or multiples of them, about `CHUNK`."""
    height, width, _ = scene.chunks
    return height * max(1, CHUNK // height), width * max(1, CHUNK // width)
