"""Page: the verb ``report``, and the only module that writes HTML.

Names of files, titles, descriptions, classes and header fields are untrusted text. The template escapes all of
it, the page has no script, and its content policy forbids it to load anything.
"""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load, plugins
from tilespec.output.report.chemmap import of_chemmaps
from tilespec.output.report.detail import of_detail
from tilespec.output.report.figures import of_predictions, of_scene
from tilespec.output.report.inputs import RecipeRun, Runs, name_of
from tilespec.output.report.maps import compare
from tilespec.output.report.options import ReportOptions
from tilespec.output.report.overview import Overview, overview, takes
from tilespec.output.report.page_parts import Section
from tilespec.output.report.provenance import of_provenance
from tilespec.output.report.recipes import of_recipe
from tilespec.output.report.reconstructed import pixels, truth_of
from tilespec.output.report.reconstruction import of_reconstructions
from tilespec.output.report.scores import by_class, methods
from tilespec.output.report.synthesis import of_synthesis
from tilespec.output.report.training import of_training
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.outputs import check_file
from tilespec.storage.scene import Scene

MARK = b'<meta name="generator" content="tilespec">'
"""The line by which a page that this verb wrote is known."""


@with_options(ReportOptions)
def report(runs: Sequence[str], out: str, options: ReportOptions, progress: Progress) -> dict[str, Any]:
    """Write one self-contained HTML page about ``runs`` to ``out``, and return what it holds.

    Args:
        runs: Scenes, class maps or channels that were predicted, tables of synthetic spectra, model folders, recipe
            folders; any of them, in any order.
        out: Where the page goes; a page that this verb wrote is replaced.
        options: What is shown; given by name.
        progress: Where the pass over each scene is reported.

    Raises:
        UserError: ``out`` is no .html file, or one of ``runs`` is nothing that a report can show.
    """
    if not out.endswith((".html", ".htm")) or store_path(out).is_dir():
        raise UserError("OUT", found=repr(out), expected="a file NAME.html", do="Name the page last: RUN... OUT.html.")
    check_file(out, MARK, "a page")
    chosen_pixels = pixels(options.pixel)
    opened = Runs.open(runs)
    plan = {
        "out": out,
        "scenes": [name_of(scene.url) for scene in opened.scenes],
        "predictions": [run.name for run in opened.predictions],
        "reconstructions": [run.name for run in opened.fields],
        "chemmaps": [run.name for run in opened.chemmaps],
        "models": [run.name for run in opened.models],
        "recipes": [run.name for run in opened.recipes],
        "spectra": [name_of(table.url) for table in opened.tables],
    }
    if options.dry_run:
        return {**plan, "dry_run": True}
    with Peak() as peak:
        sections = _sections(opened, chosen_pixels, options.samples, progress)
        html = render(options.title or _title(opened), sections)
        store_path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store_path(out), html)
    facts = {"sections": [section.key for section in sections], "bytes": len(html.encode())}
    return {**plan, **facts, "seconds": peak.seconds, "peak_memory": peak.bytes}


def render(title: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML."""
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("tilespec.output.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(title=title, sections=sections)


def _sections(runs: Runs, chosen_pixels: Sequence[tuple[int, int]], samples: str, progress: Progress) -> list[Section]:
    """Return all sections with contents in reading order."""
    recipes = {run.recipe.digest: run.recipe for run in runs.recipes}
    alone = [Scene.open(run.map.url, allow_partial=True) for run in runs.fields if truth_of(run, runs) is None]
    overviews = [overview(scene, recipes, progress) for scene in (*runs.scenes, *alone)]
    compared = [compare(run, runs) for run in runs.predictions]
    sections = [
        methods(runs),
        *of_chemmaps(runs, samples),
        *of_reconstructions(runs, chosen_pixels),
        *of_synthesis(runs, progress),
        *(of_scene(one) for one in overviews),
        of_predictions(compared),
        of_detail(compared, runs),
        *(of_recipe(run, _fitting(run, overviews)) for run in runs.recipes),
        *(of_training(run) for run in runs.models),
        by_class(runs),
        *(load({}, name, "report")(runs) for name in plugins("report")),
        of_provenance(runs),
    ]
    return [section for section in sections if not section.empty]


def _fitting(run: RecipeRun, overviews: Sequence[Overview]) -> Overview | None:
    """Return the first scene that fits a recipe."""
    return next((one for one in overviews if takes(run.recipe, one.scene)), None)


def _title(runs: Runs) -> str:
    """Return a title for a page without one."""
    predicted = [run.name for run in runs.predicted]
    names = [name_of(scene.url) for scene in runs.scenes] or predicted
    return f"tilespec report: {', '.join(names)}" if names else "tilespec report"
