"""OPUS files for tests, by the form that the readers brukeropus (Python) and opusreader2 (R) document.

A header (magic, version, place, room and number of the entries of the directory), the directory (kind, words, place of
each block), and blocks. A block of parameters is a list of: name, type, size in words of two bytes, value; then END.
"""

import struct

import numpy as np

SIDES = {"Sm": 1, "Rf": 2}
QUANTITIES = {"Sc": 1, "Ig": 2, "Ph": 3, "AB": 4, "TR": 5, "RAM": 10, "RFL": 12}
KEPT = 1 << 30
SAMPLE = 10 << 4
SERIES = 2 << 19


def kind_of(name):
    """Return the bits of the values that OPUS calls AB, TR, ScSm, ..."""
    side = SIDES.get(name[-2:])
    return 3 | (side or 3) << 2 | QUANTITIES[name[:-2] if side else name] << 10


def parameters(**values):
    """Write a block of parameters, which are whole numbers, floats or texts by their types."""
    body = b""
    for name, value in values.items():
        kind = {int: 0, float: 1, str: 2}[type(value)]
        text = struct.pack("<i" if kind == 0 else "<d", value) if kind < 2 else value.encode("cp1252") + b"\0"
        text += b"\0" * (len(text) % 2)
        body += struct.pack("<3sxHH", name.encode(), kind, len(text) // 2) + text
    body += b"END\0\0\0\0\0"
    return body + b"\0" * (-len(body) % 4)


def spectrum(name, values, first=4000.0, last=400.0, *, kept=0, bits=0, **others):
    """Return the two blocks of a spectrum: values, and what describes them."""
    state = {"CSF": 1.0, "MXY": float(np.max(values)), "MNY": float(np.min(values)), "FXV": first, "LXV": last}
    state |= {"NPT": len(values), "DPF": 1, "DXU": "WN"} | others
    state = {key: value for key, value in state.items() if value is not None}
    raw = np.asarray(np.asarray(values) / (state.get("CSF") or 1), "<f4" if state.get("DPF") != 2 else "<i4").tobytes()
    return [(kind_of(name) | kept | bits, raw), (kind_of(name) | kept | bits | 1 << 4, parameters(**state))]


def sample(name="", **others):
    """Return the block of facts of a sample."""
    return [(SAMPLE, parameters(SNM=name, CNM="né", **others))]


def opus(blocks, room=None):
    """Write a file of blocks, which lie in the order of the list."""
    room = room or len(blocks) + 2
    at, entries, body = 24 + 12 * room, [struct.pack("<Iii", 13 << 10, 3 * room, 24)], b""
    for kind, block in blocks:
        entries.append(struct.pack("<Iii", kind, len(block) // 4, at + len(body)))
        body += block
    head = struct.pack("<4sdiii", b"\n\n\xfe\xfe", 920622.0, 24, room, len(entries))
    return head + b"".join(entries).ljust(12 * room, b"\0") + body
