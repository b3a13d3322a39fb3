"""Verbs that look after predictions, judge them and show them."""
# ruff: noqa: PLR0913, PLR0917, D103 - a verb has as many arguments as options; typer shows help=, not docstrings

from typing import Annotated

import typer

from tilespec.cli.shared import Cols, DryRun, Json, Quiet, Rows, Seed, Workers, app, run


@app.command(help="Say how far a product is: done, missing, torn, in quarantine; who writes it.")
def status(out: str, *, as_json: Json = False) -> None:
    run("status", as_json=as_json, quiet=None, out=out)


@app.command(help="Hash every object of a product again; exit 3 when one is damaged.")
def verify(out: str, *, as_json: Json = False, quiet: Quiet = False) -> None:
    run("verify", as_json=as_json, quiet=quiet, out=out)


@app.command(help="Remove damaged objects of a product and compute them again, and only them.")
def repair(out: str, *, as_json: Json = False, quiet: Quiet = False) -> None:
    run("repair", as_json=as_json, quiet=quiet, out=out)


@app.command(help="Compare a prediction with the truth.")
def evaluate(
    pred: str,
    truth: str,
    patches: Annotated[int, typer.Option(help="Random patches.")] = 1000,
    patch_size: Annotated[
        int | None, typer.Option(help="Side of a patch, in pixels; default: 512, or what there is room for.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of TRUTH that is the truth.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Draws of blocks for 95 % intervals; 0: none.")] = 0,
    blocks: Annotated[int, typer.Option(help="Folds of blocks that are scored alone; 0: none.")] = 0,
    block_size: Annotated[int, typer.Option(help="Side of a block, in pixels.")] = 256,
    mask: Annotated[str | None, typer.Option(help="Layer of TRUTH: only pixels where it is not 0.")] = None,
    peak: Annotated[float | None, typer.Option(help="Largest value there can be: errors are of 0 to 255 then.")] = None,
    floor: Annotated[float, typer.Option(help="True values at or below enter no relative figure.")] = 0.0,
    illuminant: Annotated[str, typer.Option(help="Of colour differences: D65, E, A, ...; none: no colours.")] = "D65",
    rows: Rows = None,
    cols: Cols = None,
    seed: Seed = 0,
    *,
    keep_black: Annotated[
        bool, typer.Option("--keep-black", help="Count pixels whose truth is 0 in every channel.")
    ] = False,
    radiance: Annotated[bool, typer.Option("--radiance", help="Spectra are light, not reflectance.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"patches": patches, "patch_size": patch_size, "rows": rows, "cols": cols, "seed": seed, "layer": layer}
    options |= {"bootstrap": bootstrap, "blocks": blocks, "block_size": block_size}
    values = {"mask": mask, "peak": peak, "floor": floor, "keep_black": keep_black}
    colours = {"illuminant": illuminant, "radiance": radiance}
    run(
        "evaluate",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        pred=pred,
        truth=truth,
        **options,
        **values,
        **colours,
    )


@app.command(help="Write a table of plants, polygons or connected regions: area, classes, spectrum, indices.")
def measure(
    pred: str,
    scene: str,
    out: Annotated[str, typer.Argument(metavar="OUT.csv")],
    by: Annotated[str | None, typer.Option(help="Layer whose values are the objects; default: plant.")] = None,
    polygons: Annotated[str | None, typer.Option(help="GeoJSON, GeoPackage or shapefile.")] = None,
    regions: Annotated[str | None, typer.Option(help="Class whose connected regions are the objects.")] = None,
    min_area: Annotated[int, typer.Option(help="Pixels of the smallest region.")] = 1,
    only: Annotated[str | None, typer.Option("--class", help="Classes whose pixels make the spectrum.")] = None,
    rows: Rows = None,
    cols: Cols = None,
    workers: Workers = 0,
    *,
    pixel_coordinates: Annotated[
        bool, typer.Option("--pixel-coordinates", help="Corners of the polygons are columns and rows.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    objects = {"by": by, "polygons": polygons, "regions": regions, "min_area": min_area, "only": only}
    options = {"pixel_coordinates": pixel_coordinates, "rows": rows, "cols": cols, "workers": workers, **objects}
    run("measure", as_json=as_json, quiet=quiet, dry_run=dry_run, pred=pred, scene=scene, out=out, **options)


@app.command(help="Write one self-contained HTML page about scenes, models and predictions.")
def report(
    paths: Annotated[list[str], typer.Argument(metavar="RUN... OUT.html", help="Stores and folders, then the page.")],
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    pixel: Annotated[list[str] | None, typer.Option(help="Y,X whose spectra are drawn; may be repeated.")] = None,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    *runs, out = paths
    run("report", as_json=as_json, quiet=quiet, dry_run=dry_run, runs=runs, out=out, title=title, pixel=pixel or ())


@app.command(help="All of it on a small simulated raw scene; ends with a report.")
def demo(
    out: Annotated[str, typer.Option("--out", help="Folder.")] = "demo",
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    run("demo", as_json=as_json, quiet=quiet, dry_run=dry_run, out=out)
