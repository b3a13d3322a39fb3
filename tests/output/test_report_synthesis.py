"""The report of synthetic spectra: what it draws and says is what the table and the scene hold."""

import pytest
from generators import generator
from html_page import Page

from tilespec import api
from tilespec.core.progress import Silent
from tilespec.output.report.inputs import Runs
from tilespec.output.report.synthesis import KINDS, WAYS, of_synthesis


@pytest.fixture(scope="module")
def paths(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("synthesis")
    scene = make_scene(folder / "scene", 60, 50, 6, classes=3, unlabelled=0.1)
    gan = generator(folder, scene)
    api.synth(gan, folder / "spectra", count=30)
    api.synth(gan, folder / "path", between="0,2", count=40)
    return {"scene": scene, "spectra": str(folder / "spectra"), "path": str(folder / "path")}


def sections(*names):
    return of_synthesis(Runs.open(names), Silent())


def test_a_table_is_compared_with_the_first_scene_that_has_its_classes(paths, make_scene, tmp_path):
    other = make_scene(tmp_path / "other", 20, 20, 4, classes=2)
    (section,) = sections(paths["spectra"], other, paths["scene"])
    figures = api.evaluate(paths["spectra"], paths["scene"])
    ways, per_class = section.tables
    assert ways.rows[0][1:] == tuple(f"{figures['svm'][way]:.2%}" for way in WAYS)
    assert [row[0] for row in per_class.rows] == list(figures["per_class"])
    ratios = [f"{row['spread_ratio']:.2f}" for row in figures["per_class"].values()]
    assert [row[-1] for row in per_class.rows] == ratios
    overlay, means = section.rows
    assert len(overlay.pictures) == 3
    assert [picture.title for picture in means.pictures] == list(figures["per_class"])
    assert [key.text for key in means.legend] == list(KINDS)
    assert any("a partial collapse" in note for note in per_class.notes)


def test_without_a_scene_of_its_classes_nothing_is_compared(paths):
    (section,) = sections(paths["spectra"])
    assert not section.tables
    assert "no scene" in section.facts[0][1]


def test_a_path_is_drawn_from_its_begin_to_its_end(paths):
    (section,) = sections(paths["path"], paths["scene"])
    assert section.key == "path-path"
    begin, end = (key.text for key in section.rows[0].legend)
    names = list(api.evaluate(paths["spectra"], paths["scene"])["per_class"])
    assert (begin, end) == (f"{names[0]}, the begin", f"{names[2]}, the end")


def test_the_page_holds_tables_and_paths(paths, tmp_path):
    result = api.report([paths["scene"], paths["spectra"], paths["path"]], tmp_path / "page.html")
    assert result["spectra"] == ["spectra", "path"]
    assert {"spectra-spectra", "path-path"} <= set(result["sections"])
    page = Page((tmp_path / "page.html").read_text())
    assert "Synthetic spectra: spectra" in page.text
    assert not page.open
