"""Results of the training benchmark as Markdown tables: patches in a second, and their share of the ceiling."""

from statistics import median
from typing import Any

from table import MEMORY, Cell, good, markdown, of, ran_on, text
from train_job import SIZES, SKIP
from train_ways import RANKS, TRAIN

Keyed = dict[str, dict[str, Any]]


def tables(results: dict[str, Any]) -> str:
    """Return one table for each size of the networks, and a line for each competitor."""
    keyed = {case["key"]: case for case in results["cases"]}
    shape = " x ".join(map(str, results["scene"]))
    parts = [f"{ran_on(results)} Scene: {shape} float32, simulated."]
    for name, size in SIZES.items():
        found = [case for case in results["cases"] if case["size"] == name]
        if found:
            rows = [[cell(case, keyed) for cell in COLUMNS.values()] for case in found]
            title = f"Width {size.width}, patches of {size.patch}, {size.batch} in a step"
            parts.append(f"### {title}\n\n{markdown(list(COLUMNS), rows)}")
    ran = {case["way"] for case in results["cases"]}
    parts.append("\n".join(f"- `{name}`: {way.about}" for name, way in TRAIN.items() if name in ran))
    return "\n\n".join(parts) + "\n"


def _rate(case: dict[str, Any], _: Keyed) -> str:
    """Return patches in a second of all ranks, with the least and the most."""
    rates = [run["rate"] for run in good(case)]
    if not rates:
        return case["runs"][0]["error"].split("\n")[0] if case["runs"] else "not run"
    spread = f" ({min(rates):.2f} to {max(rates):.2f})" if len(rates) > 1 else ""
    return f"{median(rates):.2f}{spread}"


def _over(other: str) -> Cell:
    """Return the cell that shows the best rate over the best of another case: neighbours of the machine only slow."""

    def cell(case: dict[str, Any], keyed: Keyed) -> str:
        key = other.format(size=case["size"], work=case["work"], two="-2" if case["way"] in RANKS else "")
        best, others = ([run["rate"] for run in good(one)] for one in (case, keyed.get(key, {"runs": []})))
        return f"{max(best) / max(others):.2f}" if best and others else ""

    return cell


def _over_one(case: dict[str, Any], keyed: Keyed) -> str:
    """Return the rate of two ranks over that of one with as many threads."""
    one = case["way"].removesuffix("-2")
    return "" if one == case["way"] else _over(f"{{work}}/{{size}}/{one}")(case, keyed)


COLUMNS: dict[str, Cell] = {
    "from": text("work"),
    "who": text("way"),
    "patches/s": _rate,
    "of the ceiling": _over("memory/{size}/ceiling{two}"),
    "over one rank": _over_one,
    "waited": of("starvation", ".1%"),
    "read amplification": of("amplification", ".2f"),
    "first step, s": of("first_seconds", ".1f"),
    **MEMORY,
    f"steps timed, after {SKIP}": of("steps", ".0f"),
}
