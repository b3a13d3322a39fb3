"""Quarantine: a tile on which the net fails is set aside with all that is needed to replay it; the rest goes on.

A poison tile is one whose prediction is not finite, or on which the net raises again and again. Its whole footprint
becomes nodata (half a blend would be a value that nobody can tell from a good one), its rows of objects are recorded
with its number, the product is published as ``incomplete``, and the same command tries those rows again.
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.core.errors import UserError
from tilespec.storage.files import write_atomic

TRIES = 3
"""How often a net may raise on a tile."""
LIMIT = 16
"""So many poison tiles are no accident: the run stops."""

Tiles = Float32[np.ndarray, "tile y x channel"]
Tile = Float32[np.ndarray, "y x channel"]
Answer = Float32[np.ndarray, "y2 x2 channel2"]


@final
@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """Where poison tiles of one product go."""

    folder: Path
    """``OUT.tilespec/<fingerprint>/poison``."""

    def guard(self, net: Callable[[Tiles, list[int]], Tiles], tiles: Tiles, ids: list[int]) -> list[Answer | None]:
        """Return the prediction of each tile of a batch, None for those that fail. Numbers below 0 are padding.

        Raises:
            UserError: there are more than `LIMIT` poison tiles by now.
        """
        try:
            out = net(tiles, ids)
        except UserError:
            raise
        except (ArithmeticError, RuntimeError, ValueError) as error:
            return self._one_by_one(net, tiles, ids, error)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(out.sum())  # one pass over the batch; a look at each tile only when it fails
        if finite:
            return list(out)
        return [self._sound(tile, number, answer) for tile, number, answer in zip(tiles, ids, out, strict=True)]

    def _one_by_one(
        self, net: Callable[[Tiles, list[int]], Tiles], tiles: Tiles, ids: list[int], error: Exception
    ) -> list[Answer | None]:
        """Evaluate each tile in a batch of the same shape whose other places are empty: its bits stay the same."""
        answers: list[Answer | None] = []
        for slot, number in enumerate(ids):
            alone, names = np.zeros_like(tiles), [number if i == slot else -1 for i in range(len(ids))]
            alone[slot] = tiles[slot]
            answers.append(None)
            for _ in range(TRIES - 1 if number >= 0 else 0):
                try:
                    answers[slot] = self._sound(tiles[slot], number, net(alone, names)[slot])
                    break
                except UserError:
                    raise
                except (ArithmeticError, RuntimeError, ValueError) as again:
                    error = again
            else:
                if number >= 0:
                    self._record(tiles[slot], number, "".join(traceback.format_exception(error)))
        return answers

    def _sound(self, tile: Tile, number: int, answer: Answer) -> Answer | None:
        """Return the answer if it is finite, else None, with a replay bundle."""
        if number < 0 or np.isfinite(answer).all():
            return answer
        self._record(tile, number, "values that are not finite")
        return None

    def _record(self, tile: Tile, number: int, found: str) -> None:
        """Write the replay bundle of a tile: what the net read, and what happened."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self.folder / f"tile-{number:06d}"
        np.save(name.with_suffix(".npy"), tile, allow_pickle=False)
        facts = {"tile": number, "found": found, "input": name.with_suffix(".npy").name}
        write_atomic(name.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        if len(list(self.folder.glob("tile-*.json"))) > LIMIT:
            raise UserError(
                self.folder,
                found=f"more than {LIMIT} tiles on which the net fails, {number} the last: {found.splitlines()[-1]}",
                expected="a net that answers with finite values",
                do="Look at the bundles there (input .npy, what happened .json), and train the model again.",
            )
