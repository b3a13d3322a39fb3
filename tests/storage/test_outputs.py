"""No verb replaces what it did not make; on request it replaces what is in its way, and nothing else."""

from pathlib import Path

import pytest
from untrained_models import objects, save_model

from tilespec import api
from tilespec.core.errors import OccupiedError, UserError

FOREIGN = {
    "plots.geojson": '{"type": "FeatureCollection", "features": []}',
    "table.csv": "id,name\n1,mine\n",
    "raw.hdr": "ENVI\nsamples = 4\n",
    "page.html": "<html><body>mine</body></html>",
    "empty.html": "",
    "scene.tif": "mine",
    "scene.nc": "mine",
    "scene.png": "mine",
    "scene.hdr": "mine",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("outputs")
    scene = make_scene(folder / "scene", 48, 40, 5)
    model = save_model(folder / "model", scene)
    api.predict(model, scene, folder / "map")
    return folder, scene, model


def calls(work, out):
    folder, scene, _ = work
    by_end = {
        ".html": lambda **more: api.report(scene, out, **more),
        ".geojson": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
        ".csv": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
        ".hdr": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
    }
    return by_end.get(out.suffix, lambda **more: api.export(scene, out, **more))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_the_verb_did_not_write_stays_as_it_is(work, tmp_path, name):
    out = tmp_path / name
    out.write_text(FOREIGN[name])
    call = calls(work, out)
    for more in ({}, {"dry_run": True}, {"dry_run": True, "overwrite": True}):
        with pytest.raises(OccupiedError, match=r"already"):
            call(**more)
        assert out.read_text() == FOREIGN[name]


def test_a_table_and_a_page_of_ones_own_are_written_again(work, tmp_path):
    for name in ("own.csv", "own.html"):
        out = tmp_path / name
        call = calls(work, out)
        call()
        out.write_text(out.read_text() + " ")
        call()
        assert not out.read_text().endswith(" ")


def test_on_request_a_file_is_replaced(work, tmp_path):
    out = tmp_path / "plots.csv"
    out.write_text(FOREIGN["plots.geojson"])
    calls(work, out)(overwrite=True)
    assert out.read_text().startswith("id,")


def test_on_request_a_product_of_other_settings_is_replaced_with_its_records(work, tmp_path):
    _, scene, model = work
    out = tmp_path / "out"
    api.predict(model, scene, out, tile=16)
    with pytest.raises(OccupiedError, match=r"other settings.*--overwrite replaces it"):
        api.predict(model, scene, out, tile=32, overlap=0)
    api.predict(model, scene, out, tile=32, overlap=0, overwrite=True)
    api.predict(model, scene, tmp_path / "fresh", tile=32, overlap=0)
    assert objects(out) == objects(tmp_path / "fresh")
    assert api.verify(out)["whole"]


def test_nothing_is_removed_for_a_command_that_is_refused(work, tmp_path):
    _, scene, model = work
    out = tmp_path / "out"
    api.predict(model, scene, out, tile=16)
    before = objects(out)
    with pytest.raises(UserError):
        api.predict(model, tmp_path / "nowhere", out, tile=32, overwrite=True)
    assert objects(out) == before


def test_an_input_is_never_removed(work, tmp_path):
    _, scene, model = work
    link = tmp_path / "link"
    link.symlink_to(scene)
    before = objects(scene)
    for out in (scene, link):
        with pytest.raises(UserError):
            api.predict(model, scene, out, overwrite=True)
        assert objects(scene) == before


def test_a_folder_that_no_study_wrote_gets_no_table(work, tmp_path):
    _, scene, _ = work
    (tmp_path / "table.csv").write_text("mine")
    for place in (tmp_path, Path(scene)):
        with pytest.raises(UserError, match="is no study"):
            api.study("preset:tiny", place, overrides={"data.scene": scene}, rows="0:24", test_rows="24:48")
    assert (tmp_path / "table.csv").read_text() == "mine"


@pytest.mark.parametrize("verb", ["simulate", "ingest", "fit", "transform", "render", "train", "predict", "baseline"])
def test_every_verb_with_an_output_can_replace_it(verb):
    assert "overwrite" in api.__getattr__(verb).__signature__.parameters
