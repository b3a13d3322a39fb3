"""The verb that compares models."""
# ruff: noqa: PLR0913, PLR0917, D103 - a verb has as many arguments as options; typer shows help=, not docstrings

from typing import Annotated

import typer

from tilespec.cli.shared import DryRun, Json, Quiet, app, pairs, run

STUDY = """Train and judge every variant on every fold with every seed: one table; goes on where it was interrupted.

\b
tilespec study preset:best --out s --set data.scene=a.zarr --rows 400:1024 --test-rows 0:400 --vary net.base_width=8,16
tilespec study preset:best --out s --folds list_a.csv --folds list_b.csv --root stores --baseline plsda
tilespec study preset:best --out s --set 'data.scene=["a.zarr", "b.zarr"]' --fold A=a --fold B=b --seeds 5"""


@app.command(help=STUDY)
def study(
    config: Annotated[list[str], typer.Argument(help="TOML files, or preset:NAME; several are compared.")],
    out: Annotated[str, typer.Option("--out", help="Folder of models, predictions, results and the table.")],
    vary: Annotated[list[str] | None, typer.Option(metavar="KEY=V1,V2", help="Every combination is run.")] = None,
    folds: Annotated[list[str] | None, typer.Option(help="List of names, a file for each group; or TOML.")] = None,
    fold: Annotated[list[str] | None, typer.Option(metavar="NAME=S1,S2", help="Group of scenes.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder of the stores that lists name.")] = None,
    target_root: Annotated[str | None, typer.Option(help="Folder of their targets, of the same names.")] = None,
    baseline: Annotated[list[str] | None, typer.Option(help="Methods to compare with: linear,plsda,...")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1, ... of each variant.")] = 3,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override.")] = None,
    rows: Annotated[str | None, typer.Option(metavar="A:B", help="Rows to learn from: data.rows.")] = None,
    cols: Annotated[str | None, typer.Option(metavar="A:B", help="Columns to learn from: data.cols.")] = None,
    test_rows: Annotated[str | None, typer.Option(metavar="A:B", help="Rows to be judged on.")] = None,
    test_cols: Annotated[str | None, typer.Option(metavar="A:B", help="Columns to be judged on.")] = None,
    predict_with: Annotated[list[str] | None, typer.Option("--predict", metavar="KEY=VALUE", help="Option.")] = None,
    evaluate: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option, such as peak=4095.")] = None,
    *,
    discard: Annotated[bool, typer.Option("--discard", help="Remove predictions once they are judged.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    regions = {"rows": rows, "cols": cols, "test_rows": test_rows, "test_cols": test_cols}
    told = {f"data.{key}": value for key, value in regions.items() if value is not None}
    run(
        "study",
        as_json=as_json,
        quiet=quiet,
        dry_run=dry_run,
        config=config,
        out=out,
        vary=pairs("study", "--vary", vary),
        folds=folds or [],
        fold=fold or [],
        root=root,
        target_root=target_root,
        baselines=[name for text in baseline or [] for name in text.split(",") if name],
        seeds=seeds,
        overrides=told | pairs("study", "--set", overrides),
        predict=pairs("study", "--predict", predict_with),
        evaluate=pairs("study", "--evaluate", evaluate),
        discard=discard,
    )
