"""The competitors by name: where each one's function is, and what it needs of its environment."""

from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, kw_only=True)
class Way:
    run: str
    """``module:function`` of ``(Job, Clock) -> facts``."""
    about: str
    """One line for the table's legend."""
    workers: int = 0
    """Worker processes of one thread."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment, set before anything is imported."""


PASSIVE = {"OMP_WAIT_POLICY": "passive"}
"""What tilespec's own command line sets."""

WAYS = {
    "bare": Way(run="bare:bare", about="the network alone on the same tiles, cut from RAM, output thrown away"),
    "bare-best": Way(run="bare:best", about="the same at its own best batch size of 1, 2, 4, 8"),
    "network": Way(run="bare:alone", about="the network loaded, and one tile of zeros: the model's own memory"),
    "recipe": Way(run="bare:recipe", about="reading the raw cube and applying the recipe, keeping nothing"),
    "limit": Way(run="limit:limit", about="the physical limit, term by term"),
    "tilespec": Way(run="ours:run", about="tilespec predict in one process of 2 threads", env=PASSIVE),
    "tilespec-planes": Way(run="ours:run", about="the same with --probabilities", env=PASSIVE),
    "tilespec-unblended": Way(run="ours:run", about="the same with --window none", env=PASSIVE),
    "tilespec-2": Way(run="ours:run", about="tilespec predict with 2 workers of one thread", workers=2, env=PASSIVE),
    "monai-ram": Way(run="peer_monai:in_ram", about="MONAI sliding_window_inference, Gaussian, everything in RAM"),
    "monai-zarr": Way(run="peer_monai:on_disk", about="MONAI PatchInferer + ZarrAvgMerger (plain average)"),
    "patchly": Way(run="peer_patchly:run", about="patchly ChunkAggregator, Gaussian, NumPy output"),
    "konfai": Way(
        run="peer_konfai:run", about="KonfAI StreamingAccumulator, raised cosine, slabs written as they finish"
    ),
    "tiatoolbox": Way(
        run="peer_tiatoolbox:run", about="TIAToolbox SemanticSegmentor (plain average), rows of tiles in RAM"
    ),
    "tiatoolbox-disk": Way(run="peer_tiatoolbox:run", about="the same with rows of tiles on disk (memory_threshold 1)"),
    "dask": Way(run="peer_dask:run", about="dask map_overlap (crop, no blending) + to_zarr, one process of 2 threads"),
    "dask-2": Way(run="peer_dask:run", about="the same on a LocalCluster of 2 workers of one thread", workers=2),
}
