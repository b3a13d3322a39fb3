"""Verbs that make, describe and hand on scenes."""
# ruff: noqa: PLR0913, PLR0917, D103 - a verb has as many arguments as options; typer shows help=, not docstrings

import json
from typing import Annotated

import typer

from tilespec import api
from tilespec.cli.shared import Cols, DryRun, Json, Quiet, Rows, Seed, Workers, app, fail, human, run
from tilespec.core.errors import EXIT_USER, UserError


@app.command(help="Simulate a physically based plant scene with its truth.")
def simulate(
    out: str,
    rows: Annotated[int, typer.Option(help="Rows of the scene.")] = 3000,
    cols: Annotated[int, typer.Option(help="Columns of the scene.")] = 2796,
    bands: Annotated[int, typer.Option(help="Bands between 407 and 997 nm.")] = 186,
    plants: Annotated[int, typer.Option(help="Plants, one in a pot.")] = 36,
    seed: Seed = 0,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write sensor counts with references as ENVI.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"rows": rows, "cols": cols, "bands": bands, "plants": plants, "seed": seed, "raw": raw}
    run("simulate", as_json=as_json, quiet=quiet, dry_run=dry_run, out=out, **options)


@app.command(help="Bring any format into a scene, or several flight lines into one each: streamed, resumable.")
def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="SRC... OUT", help="One source or several, then the output.")],
    white: Annotated[str | None, typer.Option(help="White reference.")] = None,
    dark: Annotated[str | None, typer.Option(help="Dark reference.")] = None,
    panel: Annotated[str | None, typer.Option(help="White panel in the scene, rows and columns A:B,C:D.")] = None,
    panel_reflectance: Annotated[str | None, typer.Option(help="Of the panel: a number or a text file.")] = None,
    targets: Annotated[str | None, typer.Option(help="CSV file of targets for the empirical line.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class labels, FILE or FILE:VARIABLE.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Stored data type.")] = None,
    wavelengths: Annotated[str | None, typer.Option(help="Text file or variable with band centres.")] = None,
    variable: Annotated[str | None, typer.Option(help="Variable of a .mat, .npz or Zarr source.")] = None,
    axes: Annotated[str | None, typer.Option(help="Order of the source's axes, e.g. band,y,x.")] = None,
    ignore_label: Annotated[int | None, typer.Option(help="Label that means unlabelled.")] = None,
    bin_pixels: Annotated[int, typer.Option("--bin", help="Average N x N pixels, after calibration.")] = 1,
    bin_bands: Annotated[int, typer.Option(help="Average N adjacent bands.")] = 1,
    shards: Annotated[str | None, typer.Option(help="Chunks in one object: ROWSxCOLS, auto or none.")] = None,
    peak: Annotated[float | None, typer.Option(help="Stored value that is 1: 4095 for 12 bits.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="SRC is the folder of a data set: icvl, cave or arad.", metavar="NAME")
    ] = None,
    *,
    rgb: Annotated[bool, typer.Option("--rgb", help="Three bands are a picture in sRGB, whatever the format.")] = False,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Keep the whole lines of a file that ends early.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    if len(paths) < 2:
        fail("tilespec ingest: found one path; expected SRC... OUT. Give the output last.", EXIT_USER)
    *sources, out = paths
    run(
        "ingest",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        src=sources[0] if len(sources) == 1 else sources,
        out=out,
        white=white,
        dark=dark,
        panel=panel,
        panel_reflectance=panel_reflectance,
        targets=targets,
        allow_truncated=allow_truncated,
        labels=labels,
        dtype=dtype,
        wavelengths=wavelengths,
        variable=variable,
        axes=axes,
        ignore_label=ignore_label,
        bin=bin_pixels,
        bin_bands=bin_bands,
        shards=shards,
        rgb=rgb,
        peak=peak,
        dataset=dataset,
    )


@app.command(help="Say what a store holds.")
def info(store: str, *, as_json: Json = False) -> None:
    try:
        result = api.info(store)
    except UserError as error:
        fail(f"tilespec info: {error}", EXIT_USER)
    print(json.dumps(result) if as_json else human(result))  # noqa: T201 - the verb's answer


@app.command(help="Fit a recipe of spectral steps, out of core.")
def fit(
    scene: str,
    out: str,
    steps: Annotated[
        str | None, typer.Option(help="Steps, e.g. crop=450:950,sg=11:2:1,vsn,pca=4 (vsn,pca=4); see docs/steps.md.")
    ] = None,
    rows: Rows = None,
    cols: Cols = None,
    workers: Workers = 0,
    seed: Seed = 0,
    mask: Annotated[str | None, typer.Option(help="Layer: only pixels where it is not 0 (plant, labels).")] = None,
    weights: Annotated[str | None, typer.Option(help="Layer: how much each pixel counts in pca.")] = None,
    update: Annotated[str | None, typer.Option(help="Recipe whose pca or mnf this scene is added to.")] = None,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"steps": steps, "rows": rows, "cols": cols, "workers": workers, "seed": seed}
    options |= {"mask": mask, "weights": weights, "update": update}
    run("fit", as_json=as_json, quiet=quiet, dry_run=dry_run, scene=scene, out=out, **options)


@app.command(help="Write the scene that a recipe makes of a scene.")
def transform(
    recipe: str,
    scene: str,
    out: str,
    workers: Workers = 0,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"recipe": recipe, "scene": scene, "out": out, "workers": workers}
    run("transform", as_json=as_json, quiet=quiet, dry_run=dry_run, **options)


@app.command(help="Write a scene as sRGB, as an eye or a camera sees it; resumes by itself.")
def render(
    scene: str,
    out: str,
    illuminant: Annotated[str, typer.Option(help="Light, by the CIE's name: D65, E (equal energy), A, ...")] = "D65",
    observer: Annotated[int, typer.Option(help="Degrees: 10 (CIE 1964) or 2 (CIE 1931).")] = 10,
    camera: Annotated[str | None, typer.Option(help="Table wavelength,R,G,B of responses, not the observer.")] = None,
    scale: Annotated[str, typer.Option(help="fixed: 0 to --white; image: least to largest of the region.")] = "fixed",
    white: Annotated[float | None, typer.Option(help="Value of a white reflector (1).")] = None,
    mask: Annotated[str | None, typer.Option(help="Layer: its pixels decide --scale image.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, uint8 or uint16.")] = "float32",
    rows: Rows = None,
    cols: Cols = None,
    workers: Workers = 0,
    *,
    radiance: Annotated[bool, typer.Option("--radiance", help="Values are light, not reflectance.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"illuminant": illuminant, "observer": observer, "camera": camera, "scale": scale, "white": white}
    options |= {"mask": mask, "dtype": dtype, "rows": rows, "cols": cols, "workers": workers, "radiance": radiance}
    run("render", as_json=as_json, quiet=quiet, dry_run=dry_run, scene=scene, out=out, **options)


@app.command(help="Hand a store on as GeoTIFF, ENVI or PNG.")
def export(store: str, out: str, *, as_json: Json = False, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    run("export", as_json=as_json, quiet=quiet, dry_run=dry_run, store=store, out=out)
