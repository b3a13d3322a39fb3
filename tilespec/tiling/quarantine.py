"""Quarantine: a tile on which the net fails is recorded with everything needed to repeat it, and the run continues.

A poison tile is one whose prediction is not finite, or on which the net raises repeatedly. All its pixels become nodata
(a blend without it could not be distinguished from a correct value), its rows of objects are recorded with its number,
the product is published as ``incomplete``, and the same command tries those rows again.
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32

from tilespec.core.arrays import namespace, on_host
from tilespec.core.errors import UserError
from tilespec.storage.files import write_atomic

TRIES = 3
"""The number of attempts on a tile whose evaluation raises."""
LIMIT = 16
"""The number of poison tiles above which the run stops, because the model or the data must be at fault."""

Tiles = Float32[Any, "tile y x channel"]
Tile = Float32[Any, "y x channel"]
Answer = Float32[Any, "y2 x2 channel2"]


@final
@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """The folder of the poison tiles of one product, and their evaluation."""

    folder: Path
    """The folder ``OUT.tilespec/<fingerprint>/poison``."""

    def guard(self, net: Callable[[Tiles, list[int]], Tiles], tiles: Tiles, ids: list[int]) -> list[Answer | None]:
        """Return the prediction of each tile of a batch, None for failed ones. Numbers below 0 are padding.

        Raises:
            UserError: there are more than `LIMIT` poison tiles so far.
        """
        try:
            out = net(tiles, ids)
        except UserError:
            raise
        except (ArithmeticError, RuntimeError, ValueError) as error:
            return self._one_by_one(net, tiles, ids, error)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = namespace(out).isfinite(out.sum())  # one pass over the batch; tiles are checked only if it fails
        if finite:
            return list(out)
        return [self._sound(tile, number, answer) for tile, number, answer in zip(tiles, ids, out, strict=True)]

    def _one_by_one(
        self, net: Callable[[Tiles, list[int]], Tiles], tiles: Tiles, ids: list[int], error: Exception
    ) -> list[Answer | None]:
        """Evaluate each tile alone in an otherwise empty batch of the same shape, so that its bits are the same."""
        answers: list[Answer | None] = []
        for slot, number in enumerate(ids):
            alone, names = namespace(tiles).zeros_like(tiles), [number if i == slot else -1 for i in range(len(ids))]
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
        """Return a finite prediction unchanged; for any other write a record and return None."""
        if number < 0 or namespace(answer).isfinite(answer).all():
            return answer
        self._record(tile, number, "values that are not finite")
        return None

    def _record(self, tile: Tile, number: int, found: str) -> None:
        """Write the record of a tile for a repetition: the net's input and the error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self.folder / f"tile-{number:06d}"
        np.save(name.with_suffix(".npy"), on_host(tile), allow_pickle=False)
        facts = {"tile": number, "found": found, "input": name.with_suffix(".npy").name}
        write_atomic(name.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        if len(list(self.folder.glob("tile-*.json"))) > LIMIT:
            raise UserError(
                self.folder,
                found=f"more than {LIMIT} tiles on which the net fails, {number} the last: {found.splitlines()[-1]}",
                expected="a net that answers with finite values",
                do="Look at the bundles there (input .npy, what happened .json), and train the model again.",
            )
