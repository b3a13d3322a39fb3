"""Verbs that learn models and predict with them."""
# ruff: noqa: PLR0913, PLR0917, D103 - a verb has as many arguments as options; typer shows help=, not docstrings

from typing import Annotated, Any

import typer

from tilespec.cli.shared import Cols, DryRun, Json, Quiet, Rows, Seed, Workers, app, pairs, run
from tilespec.training.ranks.launchers import leads


@app.command(help="Train a net on random patches; resumes by itself.")
def train(
    config: Annotated[str, typer.Argument(help="A TOML file, or preset:NAME.")],
    out: Annotated[str, typer.Option("--out", help="Model folder.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    ranks: Annotated[int, typer.Option(help="Processes of this machine that share each batch.")] = 1,
    workers: Annotated[int, typer.Option(help="Workers that get a rank each; 0 with --cluster: all there are.")] = 0,
    cluster: Annotated[str | None, typer.Option(help="Ranks on its workers: local, tls://..., a dotted path.")] = None,
    *,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    run(
        "train",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        config=config,
        out=out,
        overrides=pairs("train", "--set", overrides),
        ranks=ranks,
        workers=workers,
        cluster=cluster,
        answer=leads,
    )


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
    run(
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


BASELINE = """Fit a classical method on a region as the model OUT.model, and predict the scene with it.

\b
ndvi       vegetation index above --threshold; needs no labels
ndvi-otsu  the same above Otsu's threshold of the region; needs no labels
plsda      partial least squares on classes: --components (a number, auto, auto:N), --samples (a number, all),
           --folds, --scale, --diagnostics
sam        spectral angle to class means of the region, or to --references; --max-angle
svm        linear support vector machine on --samples pixels; --penalty
logistic   logistic regression on --samples pixels; --penalty
kmeans     --clusters of spectra over all pixels, at most --passes; needs no labels
mlp        perceptron with two hidden layers on --samples pixels
linear     least squares onto the spectra of --target, a scene on the same plane, from --samples pixels; --ridge
polynomial the same from monomials up to --degree, or their roots: --root
rbf        the same from --centres Gaussians

`tilespec predict OUT.model SCENE OUT` applies the model to other scenes."""


@app.command(help=BASELINE)
def baseline(
    name: Annotated[str, typer.Argument(help="A method of the table, or a dotted path.")],
    scene: str,
    out: str,
    recipe: Annotated[str | None, typer.Option(help="Fitted recipe; default: the method's own.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="Rows to fit on.")] = None,
    cols: Annotated[str | None, typer.Option(metavar="A:B", help="Columns to fit on.")] = None,
    components: Annotated[str, typer.Option(help="Latent variables; auto: by cross-validation.")] = "6",
    samples: Annotated[
        str | None,
        typer.Option(help="Spectra to fit on; default plsda 3000, mlp 200,000, others 20,000; or all: plsda."),
    ] = None,
    threshold: Annotated[float, typer.Option(help="NDVI above which a pixel is plant.")] = 0.69,
    opening: Annotated[int, typer.Option(help="Radius of a morphological opening, in pixels.")] = 0,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation: groups of squares of the region.")] = 5,
    references: Annotated[str | None, typer.Option(help="CSV of spectra: wavelength,NAME,NAME,... (sam).")] = None,
    max_angle: Annotated[float | None, typer.Option(help="Radians beyond which a pixel is 255 (sam).")] = None,
    clusters: Annotated[int, typer.Option(help="Clusters (kmeans).")] = 8,
    passes: Annotated[int, typer.Option(help="Passes over the region at most (kmeans).")] = 50,
    penalty: Annotated[float, typer.Option(help="C: large fits closely (svm, logistic).")] = 1.0,
    target: Annotated[str | None, typer.Option(help="Scene to answer (linear, polynomial, rbf).")] = None,
    degree: Annotated[int, typer.Option(help="Of the polynomial.")] = 2,
    centres: Annotated[int, typer.Option(help="Gaussians (rbf).")] = 50,
    ridge: Annotated[float | None, typer.Option(help="Penalty on weights; default linear 0, others 1e-6.")] = None,
    seed: Seed = 0,
    workers: Workers = 0,
    *,
    root: Annotated[bool, typer.Option("--root", help="Roots of monomials, for linear light (polynomial).")] = False,
    scale: Annotated[bool, typer.Option("--scale", help="Divide bands by their deviations (plsda).")] = False,
    diagnostics: Annotated[
        bool, typer.Option("--diagnostics", help="Write Q and T2 of every pixel into OUT.diagnostics (plsda).")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    run(
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
        folds=folds,
        references=references,
        max_angle=max_angle,
        clusters=clusters,
        passes=passes,
        penalty=penalty,
        target=target,
        degree=degree,
        root=root,
        centres=centres,
        ridge=ridge,
        seed=seed,
        workers=workers,
        scale=scale,
        diagnostics=diagnostics,
    )


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
    options: dict[str, Any] = {"model": model, "scene": scene, "tile": tile, "seed": seed}
    run("probe", as_json=as_json, quiet=quiet, dry_run=dry_run, **options)
