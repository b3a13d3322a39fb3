"""Results as Markdown tables: medians, spreads, ratios within a round."""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from ways import WAYS

Cell = Callable[[dict[str, Any], dict[str, dict[str, Any]]], str]


def update(readme: Path, results: dict[str, Any], name: str = "results") -> None:
    """Put the tables between the markers ``name`` of ``readme``."""
    put(readme, name, tables(results))


def put(readme: Path, name: str, shown: str) -> None:
    """Put tables between the markers ``name`` of ``readme``."""
    begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
    head, found, rest = readme.read_text().partition(begin)
    assert found, f"{readme} has no {begin}"
    _, _, tail = rest.partition(end)
    readme.write_text(f"{head}{begin}\n\n{shown}\n{end}{tail}")


def tables(results: dict[str, Any]) -> str:
    """Return one table for each work."""
    keyed = {case["key"]: case for case in results["cases"]}
    parts = [machine(results)]
    for work, (title, columns) in TABLES.items():
        found = [case for case in results["cases"] if case["work"] == work]
        if found:
            rows = [[cell(case, keyed) for cell in columns.values()] for case in found]
            parts.append(f"### {work}: {title}\n\n{markdown(list(columns), rows)}")
    terms = [line for case in results["cases"] for line in _terms(case)]
    if terms:
        columns = ["work", "M, GB/s", "crc32c, GB/s", *TERMS, "sum, s"]
        parts.append(f"### The physical limit, term by term (seconds)\n\n{markdown(columns, terms)}")
    ran = {case["way"] for case in results["cases"]}
    parts.append("\n".join(f"- `{name}`: {way.about}" for name, way in WAYS.items() if name in ran))
    return "\n\n".join(parts) + "\n"


def machine(results: dict[str, Any]) -> str:
    shape = " x ".join(map(str, results["scene"]))
    scene = f"Scene (size F): {shape} float32, simulated. {results['minutes']:.0f} minutes in all."
    return f"{ran_on(results)} {scene}{loaded(results)}"


def loaded(results: dict[str, Any]) -> str:
    """Return a sentence on the load of the machine, of runs that tell it."""
    loads = [run["load"] for case in results["cases"] for run in case["runs"] if "load" in run]
    if not loads:
        return ""
    return f" Load average before the runs: {median(loads):.1f} ({min(loads):.1f} to {max(loads):.1f})."


def ran_on(results: dict[str, Any]) -> str:
    """Return a sentence on the machine and its packages."""
    facts = results["machine"]
    known = ", ".join(f"{key} {value}" for key, value in facts.items() if key not in ("cpu", "cores", "memory_gb"))
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB; {known}."


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def good(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in case["runs"] if "error" not in run]


def of(key: str, form: str, scale: float = 1.0) -> Cell:
    """Return the cell that shows the median of a fact."""

    def cell(case: dict[str, Any], _: dict[str, dict[str, Any]]) -> str:
        values = [run[key] * scale for run in good(case) if run.get(key) is not None]
        return format(median(values), form) if values else ""

    return cell


def seconds_of(case: dict[str, Any], _: dict[str, dict[str, Any]]) -> str:
    values = [run["seconds"] for run in good(case)]
    if not values:
        return case["runs"][0]["error"].split("\n")[0] if case["runs"] else "not run"
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f}{spread}"


def _processor(case: dict[str, Any], _: dict[str, dict[str, Any]]) -> str:
    """Return the processor time of ways that have no workers."""
    values = [run["cpu_seconds"] for run in good(case) if run.get("cpu_seconds") and not WAYS[case["way"]].workers]
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{median(values):.1f}{spread}" if values else ""


def measures(case: dict[str, Any]) -> list[str]:
    """Return the keys of what a case is measured by."""
    return ["/".join((case["work"], case["size"], data, case["net"], way)) for way, data in case["measure"]]


def ratios(case: dict[str, Any], keyed: dict[str, dict[str, Any]]) -> list[float]:
    """Return seconds over those of what it is measured by, within each round."""
    names, found = measures(case), []
    for run in good(case):
        others = [other for name in names for other in good(keyed.get(name, {"runs": []}))]
        same = [other["seconds"] for other in others if other["round"] == run["round"]]
        if names and len(same) == len(names):
            found.append(run["seconds"] / sum(same))
    return found


def _ratio(case: dict[str, Any], keyed: dict[str, dict[str, Any]]) -> str:
    found = ratios(case, keyed)
    return f"{median(found):.2f}" if found else ""


def _share(case: dict[str, Any], keyed: dict[str, dict[str, Any]]) -> str:
    found = ratios(case, keyed)
    return f"{100 / median(found):.0f} %" if found else ""


def _over(case: dict[str, Any], keyed: dict[str, dict[str, Any]]) -> str:
    """Return the peak memory less that of the network alone."""
    names = measures(case)
    own = [run["peak_memory"] for name in names for run in good(keyed.get(name, {"runs": []}))]
    peaks = [run["peak_memory"] for run in good(case)]
    return f"{(median(peaks) - median(own)) / 1e9:.2f}" if own and peaks and case["key"] not in names else ""


def text(key: str) -> Cell:
    return lambda case, _: str(case[key])


def _product(case: dict[str, Any], _: dict[str, dict[str, Any]]) -> str:
    return "" if case["way"] in WITHOUT else str(case["product"])


def _terms(case: dict[str, Any]) -> list[list[str]]:
    """Return the row of a case that measured the limit."""
    runs = [run for run in good(case) if "terms" in run]
    if not runs:
        return []
    first = runs[0]
    rates = [f"{first[key] / 1e9:.1f}" for key in ("copy_rate", "check_rate")]
    terms = [f"{median(run['terms'][name] for run in runs):.2f}" for name in TERMS]
    return [[f"{case['size']} {case['net']}", *rates, *terms, f"{median(r['seconds'] for r in runs):.2f}"]]


WITHOUT = ("bare", "bare-best", "recipe", "limit", "network")
"""Ways without a product."""
TERMS = ("read", "check", "cut", "network", "blend", "encode", "write")
COMMON: dict[str, Cell] = {
    "size": text("size"),
    "from": text("data"),
    "network": text("net"),
    "who": text("way"),
    "product": _product,
    "tiles": of("tiles", ".0f"),
    "seconds": seconds_of,
    "of processor, s": _processor,
}
MEMORY: dict[str, Cell] = {
    "peak memory, GB": of("peak_memory", ".2f", 1e-9),
    "before work, GB": of("memory_before", ".2f", 1e-9),
}
START: dict[str, Cell] = {
    "imports, s": of("import_seconds", ".1f"),
    "cluster, s": of("startup_seconds", ".1f"),
}
TABLES: dict[str, tuple[str, dict[str, Cell]]] = {
    "W6": ("the generator, over the bare network", {**COMMON, "ratio": _ratio, **MEMORY, **START}),
    "W5": ("a null network, and the share of the physical limit", {**COMMON, "share": _share, **MEMORY, **START}),
    "W9": ("memory, full scene and four times as long", {**COMMON, **MEMORY, "over the network's own, GB": _over}),
    "W10": (
        "quality",
        {
            **COMMON,
            "largest error": of("max_error", ".2g"),
            "values changed": of("changed", ".1%"),
            "seam ratio": of("seam_ratio", ".2f"),
        },
    ),
}

if __name__ == "__main__":
    import json

    update(Path(sys.argv[2]), json.loads(Path(sys.argv[1]).read_text()))
