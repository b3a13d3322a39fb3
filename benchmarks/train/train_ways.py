"""The sources of batches that are trained from: where each one's function is, and what it needs."""

from ways import PASSIVE, Way

RANKS = {"ceiling-2": 2, "tilespec-2": 2}
"""Processes of one thread each that learn together; others: one process of two threads."""
TRAIN: dict[str, Way] = {
    "ceiling": Way(run="train_ours:made", about="batches made once, random tensors in memory", env=PASSIVE),
    "ceiling-2": Way(run="train_ours:made", about="the same, two ranks of one thread", env=PASSIVE),
    "tilespec": Way(run="train_ours:tilespec", about="`tilespec train`", env=PASSIVE),
    "tilespec-2": Way(run="train_ours:tilespec", about="`tilespec train --ranks 2`, one thread each", env=PASSIVE),
    "tilespec-forgets": Way(
        run="train_ours:forgetful", about="the same with `data.cache=0`: a scene far larger than memory", env=PASSIVE
    ),
    "xarray": Way(
        run="train_peers:plain", about="xarray reads each patch, torch's DataLoader, 2 processes", env=PASSIVE
    ),
    "xbatcher": Way(
        run="train_peers:lattice", about="xbatcher's MapDataset, torch's DataLoader, 2 processes", env=PASSIVE
    ),
}
KEEPS = ("tilespec", "tilespec-2")
"""Who decodes an object once, as long as memory lasts: the first steps of a training are not like all others."""
FROM = {
    "memory": ("ceiling", "ceiling-2"),
    "scores": ("tilespec", "tilespec-2", "tilespec-forgets", "xarray", "xbatcher"),
    "raw": ("tilespec", "tilespec-2", "tilespec-forgets", "xarray", "xbatcher"),
}
"""Who trains from what."""
