"""A net that learns slowly: ``CHAOS_SLEEP`` seconds for each step."""

import os
import time

from torch import nn

from tilespec.core.types import TileClass


class Lazy(nn.Module):
    """Two convolutions without a norm, so that every weight has a gradient; they take their time while they learn."""

    tile_class = TileClass(kind="exact", halo=2)

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.first = nn.Conv2d(channels_in, 6, 3, padding=1)
        self.last = nn.Conv2d(6, channels_out, 3, padding=1)

    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ.get("CHAOS_SLEEP", "0")))
        return self.last(self.first(x).relu())
