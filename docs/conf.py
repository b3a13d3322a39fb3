"""The site of the documentation, which `make docs` builds: the pages here and beside this folder, and the reference."""

import re
import shutil
from pathlib import Path
from typing import Any

from tilespec import __version__
from tilespec.cli.shared import function_of
from tilespec.cli.verbs import COMMANDS

project, author, version = "tilespec", "The tilespec developers", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "benchmarks/README.md"]
html_theme, html_title = "furo", f"tilespec {__version__}"
html_copy_source = html_show_sourcelink = html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
myst_heading_anchors = 4
napoleon_custom_sections = [("Options", "params_style")]
autodoc_typehints = "none"  # the signatures show them
python_maximum_signature_line_length = 88


def contents() -> str:
    """Return the contents of the site: the table of pages in docs/README.md, with its headings."""
    lines = Path(__file__).with_name("README.md").read_text().splitlines()
    groups: dict[str, list[str]] = {}
    for line in lines:
        if heading := re.match(r"\| \*\*(.+)\*\* \|", line):
            groups[heading[1].capitalize()] = []
        elif page := re.search(r"\]\(([\w./-]+)\.md\) \|$", line):
            groups[next(reversed(groups))].append(page[1])
    groups["Beside these pages"] = ["README", "../benchmarks/README", "../LOG", "../CHANGELOG"]
    tables = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: {name}", *paths(pages), "```"])
        for name, pages in groups.items()
    )
    return "\n\n".join(["", *tables, ""])


def paths(pages: list[str]) -> list[str]:
    """Return the places of pages as seen from the first page."""
    return [page.removeprefix("../") if page.startswith("../") else f"docs/{page}" for page in pages]


def verbs() -> str:
    """Return the functions of all verbs, under the headings of the command line."""
    lines = []
    for heading in dict.fromkeys(command.group for command in COMMANDS):
        names = [function_of(command.name) for command in COMMANDS if command.group == heading]
        lines += [f"### {heading}", "", "```{eval-rst}", ".. currentmodule:: tilespec.api"]
        lines += [*(f".. autofunction:: {name}" for name in names), "```", ""]
    return "\n".join(lines)


WRITTEN = {root_doc: ("", contents), "docs/reference": ("<!-- verbs -->", verbs)}
"""The pages of which a part is written here: what stands in its place, nothing for the end, and what writes it."""


def setup(app: Any) -> None:
    """Write the parts of pages that come from tables, and the first page under the name that servers look for."""

    def write(_: object, name: str, source: list[str]) -> None:
        if name in WRITTEN:
            place, part = WRITTEN[name]
            source[0] = source[0].replace(place, part()) if place else source[0] + part()

    def begin(built: Any, error: Exception | None) -> None:
        if error is None:
            shutil.copyfile(Path(built.outdir, f"{root_doc}.html"), Path(built.outdir, "index.html"))

    app.connect("source-read", write)
    app.connect("build-finished", begin)
