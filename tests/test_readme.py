"""The README fits on a screen, its commands exist and run word for word, and links of all pages lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tilespec.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
COMMANDS = typer.main.get_command(app).commands
LINES = 95
MINUTES = 20


def lines_of(page):
    """Return the command lines of a page: those that are indented by four spaces and begin with `tilespec`."""
    text = page.read_text().replace("\\\n", " ")
    return [line.partition("  # ")[0].strip() for line in re.findall(r"^ {4}(tilespec .*)$", text, re.MULTILINE)]


def ids(page):
    return page.relative_to(ROOT).as_posix()


def test_the_readme_fits_on_a_screen():
    assert README.read_text().count("\n") <= LINES


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_verb_and_option_of_a_command_exists(page):
    for line in lines_of(page):
        for command in line.split("&&"):
            words = re.sub(r"[\[\]]", "", command).split()[1:]
            verb = " ".join(words[: 2 if " ".join(words[:2]) in COMMANDS else 1])
            rest = words[len(verb.split()) :]
            known = {option for parameter in COMMANDS[verb].params for option in parameter.opts}
            assert {word for word in rest if re.fullmatch(r"--[a-z][a-z-]*", word)} <= known, command


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_to_a_file(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_readme_and_the_walkthrough_name_every_verb():
    text = README.read_text()
    assert {verb for verb in COMMANDS if f"`{verb}`" in text} == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.timeout(60 * MINUTES)
@pytest.mark.parametrize(
    ("page", "files"),
    [
        (README, {"first.html", "plants.csv", "plants.png", "map.tif"}),
        (ROOT / "docs" / "walkthrough.md", {"plants.csv", "regions.csv", "report.html", "cgan.tif"}),
    ],
    ids=["README.md", "docs/walkthrough.md"],
)
def test_the_commands_of_a_page_run_word_for_word_one_after_another(tmp_path, page, files):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for line in lines_of(page):
        words = [sys.executable, "-m", *shlex.split(line)]
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert files <= {path.name for path in tmp_path.iterdir()}
