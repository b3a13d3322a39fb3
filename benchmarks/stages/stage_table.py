"""Results of the stages before the network as Markdown tables."""

from statistics import median
from typing import Any

from stage_ways import STAGES
from table import MEMORY, START, Cell, good, markdown, of, ran_on, seconds_of, text

Keyed = dict[str, dict[str, Any]]
Table = tuple[list[str], list[list[str]]]


def tables(results: dict[str, Any]) -> str:
    """Return one table for each work, one of the floors, one of the long scene."""
    keyed = {case["key"]: case for case in results["cases"]}
    shape = " x ".join(map(str, results["scene"]))
    parts = [f"{ran_on(results)} Scene (size F): {shape}, simulated."]
    for work, (title, columns) in TABLES.items():
        found = [case for case in results["cases"] if case["work"] == work]
        if found:
            rows = [[cell(case, keyed) for cell in columns.values()] for case in found]
            parts.append(f"### {title}\n\n{markdown(list(columns), rows)}")
    for title, (columns, rows) in {
        "Floors, term by term": _floors(keyed),
        "Four times the scene": _long(keyed),
    }.items():
        parts += [f"### {title}\n\n{markdown(columns, rows)}"] if rows else []
    return "\n\n".join([*parts, _legend(results)]) + "\n"


def _of_round(case: dict[str, Any], number: int) -> dict[str, Any] | None:
    """Return the run of a round, if it went well."""
    return next((run for run in good(case) if run["round"] == number), None)


def over(way: str, beside: str = "") -> Cell:
    """Return the cell that shows seconds over those of another way of the same round, and of what it has beside."""

    def cell(case: dict[str, Any], keyed: Keyed) -> str:
        other = keyed.get(f"{case['work']}/{case['size']}/{way}", {"runs": []})
        ratios = []
        for run in good(case):
            same = _of_round(other, run["round"])
            if same is not None and (not beside or beside in same["beside"]):
                ratios.append(run["seconds"] / (same["seconds"] + (same["beside"][beside] if beside else 0)))
        return f"{median(ratios):.2f}" if ratios else ""

    return cell


def _rate(case: dict[str, Any], _: Keyed) -> str:
    """Return gigabytes in one second."""
    rates = [run["bytes"] / run["seconds"] / 1e9 for run in good(case) if run.get("bytes")]
    return f"{median(rates):.2f}" if rates else ""


def _patches(case: dict[str, Any], _: Keyed) -> str:
    rates = [run["patches"] / run["seconds"] for run in good(case) if run.get("patches")]
    return f"{median(rates):.0f}" if rates else ""


def _digest(case: dict[str, Any], _: Keyed) -> str:
    return ", ".join(sorted({run["digest"][:8] for run in good(case) if run.get("digest")}))


def _floors(keyed: Keyed) -> Table:
    """Return the terms of every floor."""
    rows = []
    for case in keyed.values():
        runs = good(case) if case["way"] == "floor" else []
        if runs:
            shown = [_terms([run[kind] for run in runs]) for kind in ("terms", "beside")]
            rows.append([case["work"], case["size"], shown[0], f"{median(r['seconds'] for r in runs):.2f}", shown[1]])
    return ["stage", "size", "terms, s", "sum, s", "beside, s"], rows


def _terms(runs: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {median(run[name] for run in runs):.2f}" for name in runs[0])


def _long(keyed: Keyed) -> Table:
    """Return time and memory of the long scene over those of the full one."""
    rows = []
    for case in keyed.values():
        full = keyed.get(f"{case['work']}/F/{case['way']}")
        if case["size"] != "L" or full is None or not (good(case) and good(full)):
            continue
        seconds, memory = ([_median(one, key) for one in (full, case)] for key in ("seconds", "peak_memory"))
        times = [f"{a:.1f}" for a in seconds] + [f"{seconds[1] / seconds[0]:.2f}"]
        peaks = [f"{a / 1e9:.2f}" for a in memory] + [f"{memory[1] / memory[0]:.2f}"] if memory[0] else ["", "", ""]
        rows.append([case["work"], case["way"], *times, *peaks])
    return ["stage", "who", "F, s", "L, s", "L / F", "F, GB", "L, GB", "L / F"], rows


def _median(case: dict[str, Any], key: str) -> float:
    return median(run.get(key, 0) for run in good(case))


def _legend(results: dict[str, Any]) -> str:
    """Return one line for each competitor that ran."""
    ran = {(case["work"], case["way"]): None for case in results["cases"]}
    return "\n".join(f"- {work} `{way}`: {STAGES[work][way].about}" for work, way in ran if way != "floor")


COMMON: dict[str, Cell] = {
    "size": text("size"),
    "who": text("way"),
    "seconds": seconds_of,
    "over floor": over("floor"),
    "over tilespec": over("tilespec"),
    "GB/s": _rate,
}
REST: dict[str, Cell] = {**MEMORY, **START}
WRITTEN: dict[str, Cell] = {"objects": of("objects", ".0f"), "written, GB": of("out_bytes", ".2f", 1e-9)}
VSN: dict[str, Cell] = {"over floor + VSN": over("floor", "vsn")}
ANGLE: dict[str, Cell] = {"angle, rad": of("angle", ".1e"), "digest": _digest}
READ: dict[str, Cell] = {"patches/s": _patches, "read amplification": of("amplification", ".2f")}
TABLES: dict[str, tuple[str, dict[str, Cell]]] = {
    "ingest": (
        "Ingest: uint16 BIL counts to calibrated float32 Zarr",
        {**COMMON, **WRITTEN, "largest error": of("max_error", ".1e"), **REST},
    ),
    "fit": ("Fit: VSN and 4 principal components", {**COMMON, **VSN, **ANGLE, **REST}),
    "transform": ("Transform: the raw cube to 4 scores", {**COMMON, **VSN, **WRITTEN, **REST}),
    "preprocess": ("Preprocess: drop 20 bands, centre and scale each", {**COMMON, **WRITTEN, **REST}),
    "patches": ("Random patches of 128 x 128 x 186", {**COMMON, **READ, **REST}),
    "patches-scores": ("Random patches of 128 x 128 x 4", {**COMMON, **READ, **REST}),
}
