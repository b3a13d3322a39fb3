"""Nets that are slow, that note what they were asked, or that take their process with them."""

import os
import signal
import time
from pathlib import Path

from torch import nn

from tilespec.core.types import TileClass


class Slow(nn.Module):
    """A net whose bits depend on the tile it sees. What it does beside that, the environment says, so that the model
    stays the same: ``CHAOS_SLEEP`` seconds for each batch; ``CHAOS_LOG`` a file that gets a line for each tile with
    data (reflectance is never negative, tiles of self-tests are); ``CHAOS_DEADLY`` kills the process at marked tiles;
    ``CHAOS_GATE`` a file: while it is there, no tile with data is answered once the log has as many as it says.
    """

    tile_class = TileClass(kind="approximate")

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = nn.Conv2d(channels_in, 6, 3, padding=1)
        self.norm = nn.InstanceNorm2d(6)
        self.last = nn.Conv2d(6, channels_out, 3, padding=1)

    def forward(self, x):
        flat = x.flatten(1)
        real = int(((flat.amin(1) >= 0) & (flat.amax(1) > 0)).sum())
        if real and os.environ.get("CHAOS_DEADLY") and float(x.max()) > 10:
            os.kill(os.getpid(), signal.SIGKILL)
        if real and "CHAOS_LOG" in os.environ:
            with Path(os.environ["CHAOS_LOG"]).open("ab", buffering=0) as file:
                file.write(b"tile\n" * real)
        time.sleep(float(os.environ.get("CHAOS_SLEEP", "0")) if real else 0)
        while real and held():
            time.sleep(0.01)
        return self.last(self.norm(self.first(x)).relu())


def held():
    """Return whether the gate is shut: it is there, and the log has as many tiles as it says (none: 0)."""
    try:
        number = int(Path(os.environ["CHAOS_GATE"]).read_text() or 0)
    except (KeyError, FileNotFoundError):
        return False
    log = Path(os.environ.get("CHAOS_LOG", "/no such log"))
    return number == 0 or (log.exists() and log.stat().st_size >= number * len(b"tile\n"))


class Plain(nn.Module):
    """Two convolutions without a stride: exact with two pixels around, wherever a tile begins."""

    tile_class = TileClass(kind="exact", halo=2)

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = nn.Conv2d(channels_in, 6, 3, padding=1)
        self.last = nn.Conv2d(6, channels_out, 3, padding=1)

    def forward(self, x):
        return self.last(self.first(x).relu())
