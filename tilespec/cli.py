"""The command line: one function for each verb, as thin as its options.

Progress goes to stderr; ``--json`` prints one JSON object on stdout; ``--dry-run`` prints the plan and does nothing.
Exit codes: 0 done, 2 the user's mistake, 3 finished but incomplete, 130 interrupted and resumable.
"""
# ruff: noqa: PLR0913, PLR0917, D103 - a verb has as many arguments as options; typer shows help=, not docstrings

import json
import os
import sys
from typing import Annotated, Any

import typer

from tilespec import api
from tilespec.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_USER, IncompleteError, UserError
from tilespec.memory import one_heap
from tilespec.progress import Lines, Silent

app = typer.Typer(
    name="tilespec",
    help="Hyperspectral scenes larger than memory, from raw counts to a blended prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Rows = Annotated[str | None, typer.Option("--rows", metavar="A:B", help="Only these rows.")]
Cols = Annotated[str | None, typer.Option("--cols", metavar="A:B", help="Only these columns.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes on this machine; 0: in this process.")]


def main() -> None:
    """Run the command line."""
    # Idle OpenMP threads that spin cost half the speed beside one busy neighbour; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    one_heap()
    app()


def _run(verb: str, *, as_json: bool, quiet: bool | None, **options: Any) -> None:
    """Call a verb, print what it returns, and turn errors into exit codes."""
    try:
        told = {} if quiet is None else {"progress": Silent() if quiet else Lines()}
        result = getattr(api, verb)(**told, **options)
    except UserError as error:
        _fail(f"tilespec {verb}: {error}", EXIT_USER)
    except IncompleteError as error:
        _fail(f"tilespec {verb}: {error}", EXIT_INCOMPLETE)
    except OSError as error:
        _fail(f"tilespec {verb}: {error.filename or 'storage'}: {error.strerror or error}", EXIT_USER)
    except KeyboardInterrupt:
        _fail(f"tilespec {verb}: interrupted; run the same command again, it resumes", EXIT_INTERRUPTED)
    else:
        for note in result.get("notes", []):
            print(f"tilespec {verb}: note: {note}", file=sys.stderr)  # noqa: T201 - what users should know
        print(json.dumps(result) if as_json else _human(result))  # noqa: T201 - the verb's answer
        if result.get("status") == "incomplete" or result.get("whole") is False:  # ended, but not whole
            raise typer.Exit(EXIT_INCOMPLETE)


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)  # noqa: T201 - the message is the product here
    raise typer.Exit(code)


def _human(result: dict[str, Any], indent: str = "") -> str:
    """Return a result as aligned lines."""
    width = max((len(key) for key in result), default=0)
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", _human(value, indent + "  ")]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{indent}{key}", value]
        else:
            lines.append(f"{indent}{key:<{width}}  {_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 160 else text[:157] + "..."


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
    _run("simulate", as_json=as_json, quiet=quiet, dry_run=dry_run, out=out, **options)


@app.command(help="Bring any format into a scene: streamed, calibrated, resumable.")
def ingest(
    src: str,
    out: str,
    white: Annotated[str | None, typer.Option(help="White reference.")] = None,
    dark: Annotated[str | None, typer.Option(help="Dark reference.")] = None,
    labels: Annotated[str | None, typer.Option(help="Class labels, FILE or FILE:VARIABLE.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Stored data type.")] = None,
    wavelengths: Annotated[str | None, typer.Option(help="Text file or variable with band centres.")] = None,
    variable: Annotated[str | None, typer.Option(help="Variable of a .mat, .npz or Zarr source.")] = None,
    axes: Annotated[str | None, typer.Option(help="Order of the source's axes, e.g. band,y,x.")] = None,
    ignore_label: Annotated[int | None, typer.Option(help="Label that means unlabelled.")] = None,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    _run(
        "ingest",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        src=src,
        out=out,
        white=white,
        dark=dark,
        labels=labels,
        dtype=dtype,
        wavelengths=wavelengths,
        variable=variable,
        axes=axes,
        ignore_label=ignore_label,
    )


@app.command(help="Say what a store holds.")
def info(store: str, *, as_json: Json = False) -> None:
    try:
        result = api.info(store)
    except UserError as error:
        _fail(f"tilespec info: {error}", EXIT_USER)
    print(json.dumps(result) if as_json else _human(result))  # noqa: T201 - the verb's answer


@app.command(help="Fit a recipe of spectral steps, out of core.")
def fit(
    scene: str,
    out: str,
    steps: Annotated[str, typer.Option(help="Steps, e.g. crop=450:950,sg=11:2:1,vsn,pca=4.")],
    rows: Rows = None,
    cols: Cols = None,
    workers: Workers = 0,
    seed: Seed = 0,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"steps": steps, "rows": rows, "cols": cols, "workers": workers, "seed": seed}
    _run("fit", as_json=as_json, quiet=quiet, dry_run=dry_run, scene=scene, out=out, **options)


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
    _run("transform", as_json=as_json, quiet=quiet, dry_run=dry_run, **options)


@app.command(help="Train a net on random patches; resumes by itself.")
def train(
    config: Annotated[str, typer.Argument(help="A TOML file, or preset:NAME.")],
    out: Annotated[str, typer.Option("--out", help="Model folder.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    ranks: Annotated[int, typer.Option(help="Processes that share each batch.")] = 1,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    pairs = dict(_pair(text) for text in overrides or [])
    _run(
        "train",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        config=config,
        out=out,
        overrides=pairs,
        ranks=ranks,
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        _fail(
            f"tilespec train: --set: found {text!r}; expected KEY=VALUE. Write for example --set train.steps=100",
            2,
        )
    return key.strip(), value.strip()


@app.command(help="Predict one scene, or several into the folder OUT: blended tiles; resumes by itself.")
def predict(
    model: str,
    scene: Annotated[list[str], typer.Argument(metavar="SCENE... OUT", help="Scenes, then where the product goes.")],
    tile: Annotated[int | None, typer.Option(help="Output pixels of a tile.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Output pixels that neighbours share.")] = None,
    window: Annotated[str, typer.Option(help="cosine, linear, gaussian or none.")] = "cosine",
    workers: Workers = 0,
    cluster: Annotated[str | None, typer.Option(help="local, tls://..., or a dotted path.")] = None,
    rows: Rows = None,
    cols: Cols = None,
    norm: Annotated[str, typer.Option(help="tile, or frozen: norms over space use the scene's statistics.")] = "tile",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16: faster, other bits.")] = "float32",
    samples: Annotated[int, typer.Option(help="Average over so many draws of dropout.")] = 0,
    memory: Annotated[str | None, typer.Option(help="Budget such as 4GB; default: what is available.")] = None,
    *,
    flips: Annotated[bool, typer.Option("--flips", help="Average over the eight symmetries of the square.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Store class probabilities.")] = False,
    disagreement: Annotated[bool, typer.Option("--disagreement", help="Store the spread of tiles.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    *scenes, out = scene
    if not scenes:
        raise typer.BadParameter("predict takes a model, one or more scenes, and OUT", param_hint="SCENE... OUT")
    _run(
        "predict",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        model=model,
        scene=scenes[0] if len(scenes) == 1 else scenes,
        out=out,
        tile=tile,
        overlap=overlap,
        window=window,
        workers=workers,
        cluster=cluster,
        rows=rows,
        cols=cols,
        norm=norm,
        precision=precision,
        samples=samples,
        memory=memory,
        flips=flips,
        probabilities=probabilities,
        disagreement=disagreement,
    )


@app.command(help="Say how far a product is: done, missing, torn, in quarantine; who writes it.")
def status(out: str, *, as_json: Json = False) -> None:
    _run("status", as_json=as_json, quiet=None, out=out)


@app.command(help="Hash every object of a product again; exit 3 when one is damaged.")
def verify(out: str, *, as_json: Json = False, quiet: Quiet = False) -> None:
    _run("verify", as_json=as_json, quiet=quiet, out=out)


@app.command(help="Remove damaged objects of a product and compute them again, and only them.")
def repair(out: str, *, as_json: Json = False, quiet: Quiet = False) -> None:
    _run("repair", as_json=as_json, quiet=quiet, out=out)


@app.command(help="Measure a model: receptive field, tile class, overlap to use, determinism.")
def probe(
    model: str,
    scene: Annotated[str | None, typer.Option(help="A scene for real tiles; default: random ones.")] = None,
    tile: Annotated[int | None, typer.Option(help="Output pixels of a tile.")] = None,
    seed: Seed = 0,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"model": model, "scene": scene, "tile": tile, "seed": seed}
    _run("probe", as_json=as_json, quiet=quiet, dry_run=dry_run, **options)


@app.command(help="Fit a classical method (ndvi, ndvi-otsu, plsda, mlp) as a model, and predict with it.")
def baseline(
    name: str,
    scene: str,
    out: str,
    recipe: Annotated[str | None, typer.Option(help="Fitted recipe; default: the method's own.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="Rows to fit on.")] = None,
    cols: Annotated[str | None, typer.Option(metavar="A:B", help="Columns to fit on.")] = None,
    components: Annotated[int, typer.Option(help="Latent variables (plsda).")] = 6,
    samples: Annotated[
        int | None, typer.Option(help="Spectra to fit on, balanced over classes; default 3000, mlp 200,000.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="NDVI above which a pixel is plant.")] = 0.69,
    opening: Annotated[int, typer.Option(help="Radius of a morphological opening, in pixels.")] = 0,
    seed: Seed = 0,
    workers: Workers = 0,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    _run(
        "baseline",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        name=name,
        scene=scene,
        out=out,
        recipe=recipe,
        rows=rows,
        cols=cols,
        components=components,
        samples=samples,
        threshold=threshold,
        opening=opening,
        seed=seed,
        workers=workers,
    )


@app.command(help="Compare a prediction with the truth.")
def evaluate(
    pred: str,
    truth: str,
    patches: Annotated[int, typer.Option(help="Random patches.")] = 1000,
    patch_size: Annotated[int, typer.Option(help="Side of a patch, in pixels.")] = 512,
    rows: Rows = None,
    cols: Cols = None,
    seed: Seed = 0,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    options = {"patches": patches, "patch_size": patch_size, "rows": rows, "cols": cols, "seed": seed}
    _run("evaluate", as_json=as_json, quiet=quiet, dry_run=dry_run, pred=pred, truth=truth, **options)


@app.command(help="Write one self-contained HTML page about scenes, models and predictions.")
def report(
    paths: Annotated[list[str], typer.Argument(metavar="RUN... OUT.html", help="Stores and folders, then the page.")],
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    *runs, out = paths
    _run("report", as_json=as_json, quiet=quiet, dry_run=dry_run, runs=runs, out=out, title=title)


@app.command(help="Hand a store on as GeoTIFF, ENVI or PNG.")
def export(store: str, out: str, *, as_json: Json = False, dry_run: DryRun = False, quiet: Quiet = False) -> None:
    _run("export", as_json=as_json, quiet=quiet, dry_run=dry_run, store=store, out=out)


@app.command(help="All of it on a small simulated raw scene; ends with a report.")
def demo(
    out: Annotated[str, typer.Option("--out", help="Folder.")] = "demo",
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    _run("demo", as_json=as_json, quiet=quiet, dry_run=dry_run, out=out)
