"""Ways to damage a stored object."""

import os
from pathlib import Path


def everything(url):
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(Path(url).rglob("*")) if p.is_file()}


def flip(path, where=0.5):
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * where)] ^= 8
    path.write_bytes(raw)


DAMAGE = {
    "deleted": (lambda path, _: path.unlink(), "missing"),
    "cut": (lambda path, _: os.truncate(path, path.stat().st_size - 10), " bytes instead of "),
    "longer": (lambda path, _: path.write_bytes(path.read_bytes() + b"0"), " bytes instead of "),
    "emptied": (lambda path, _: path.write_bytes(b""), "0 bytes instead of "),
    "flipped": (lambda path, _: flip(path), "other bytes"),
    "replaced": (lambda path, other: path.write_bytes(other), " bytes"),
    "linked": (lambda path, other: (path.unlink(), path.symlink_to(__file__)), "a link"),
}
