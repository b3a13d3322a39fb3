"""Tables of spectra: what works on the pixels of a scene gives the same numbers on the spectra of a table."""

import csv

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.storage.layout import constants as small_arrays
from tilespec.storage.layout import cube_spec, layer_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

HEIGHT, WIDTH, BANDS = 70, 60, 12
AXIS = SpectralAxis(name="wavenumber", unit="cm-1", values=tuple(np.linspace(400, 1800, BANDS)))
CLASSES = ("quartz", "calcite", "talc")


def written(url, spectra, labels, *, table):
    """Write a scene, or a table, with labels."""
    shape = labels.shape
    specs = [cube_spec((*shape, BANDS), "float32", spectral=AXIS), layer_spec("labels", shape, classes=CLASSES)]
    options = {"settings": {"kind": "test"}, "attrs": {"title": "test"}, "constants": small_arrays(AXIS)}
    product = Product.open(str(url), specs, table=table, **options)
    for row in product.missing():
        part = slice(*product.span(row))
        product.write(row, {"cube": spectra[part], "labels": labels[part]})
    product.finish()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Write the same spectra as a scene and as a table."""
    at, draw = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    labels = draw.integers(0, len(CLASSES), (HEIGHT, WIDTH)).astype(np.uint8)
    shapes = np.stack([1.5 + np.sin(np.linspace(0, 3 + k, BANDS)) for k in range(len(CLASSES))])
    spectra = shapes[labels] * draw.uniform(0.8, 1.2, (HEIGHT, WIDTH, 1)) + draw.normal(0, 0.1, (HEIGHT, WIDTH, BANDS))
    spectra = spectra.astype(np.float32)
    labels[0, :3] = 255
    written(at / "scene", spectra, labels, table=False)
    written(at / "table", spectra.reshape(-1, 1, BANDS), labels.reshape(-1, 1), table=True)
    return at, spectra.reshape(-1, BANDS), labels.ravel()


def stored(url, name):
    return np.asarray(zarr.open_group(str(url), mode="r")[name])


def test_xarray_opens_a_table_without_places(pair):
    at, spectra, labels = pair
    with xr.open_zarr(at / "table") as table:
        assert dict(table.sizes) == {"spectrum": HEIGHT * WIDTH, "band": BANDS}
        assert_array_equal(table.cube, spectra)
        assert_array_equal(table["class"], labels)
        assert_allclose(table.wavenumber, AXIS.values)


def test_a_table_is_a_scene_one_pixel_wide(pair):
    at, spectra, labels = pair
    scene = Scene.open(str(at / "table"))
    assert (scene.table, scene.shape, scene.layers, scene.classes()) == (
        True,
        (len(spectra), 1, BANDS),
        ("labels",),
        CLASSES,
    )
    assert_array_equal(scene.read(scene.roi)[:, 0], spectra)
    assert_array_equal(scene.labels()[:, 0], labels)


def test_a_table_is_verified_and_repaired(pair, tmp_path):
    at, _, labels = pair
    api.fit(at / "table", tmp_path / "recipe", steps="snv")
    api.transform(tmp_path / "recipe", at / "table", tmp_path / "out")
    before = stored(tmp_path / "out", "cube")
    object_ = tmp_path / "out" / "cube" / "c" / "1" / "0"
    object_.write_bytes(object_.read_bytes()[:-9] + bytes(9))
    assert not api.verify(tmp_path / "out")["intact"]
    scene = Scene.open(str(tmp_path / "out"))
    with pytest.raises(UserError, match="damaged"):
        scene.read(scene.roi)
    api.repair(tmp_path / "out")
    assert api.verify(tmp_path / "out")["whole"]
    assert_array_equal(stored(tmp_path / "out", "cube"), before)
    assert_array_equal(stored(tmp_path / "out", "class"), labels)


@pytest.mark.parametrize("steps", ["snv,pca=2,scale", "sg=5:2:1", "msc"])
def test_a_recipe_is_the_same_for_the_same_spectra(pair, tmp_path, steps):
    at, _, _ = pair
    for name in ("scene", "table"):
        api.fit(at / name, tmp_path / f"{name}.recipe", steps=steps)
        api.transform(tmp_path / f"{name}.recipe", at / name, tmp_path / name)
    scene, table = (stored(tmp_path / name, "cube") for name in ("scene", "table"))
    assert table.ndim == 2
    assert_allclose(np.abs(table), np.abs(scene.reshape(len(table), -1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["plsda", "svm"])
def test_a_classifier_has_the_same_figures(pair, tmp_path, method):
    at, _, _ = pair
    found = {}
    for name in ("scene", "table"):
        api.baseline(method, at / name, tmp_path / name)
        api.predict(tmp_path / f"{name}.model", at / "table", tmp_path / f"{name}.of_table", probabilities=True)
        found[name] = api.evaluate(tmp_path / f"{name}.of_table", at / "table")["oa"]
    assert stored(tmp_path / "table", "prediction").shape == (HEIGHT * WIDTH,)
    assert stored(tmp_path / "table.of_table", "probability").shape == (HEIGHT * WIDTH, len(CLASSES))
    assert found["scene"] == pytest.approx(found["table"], abs=0.02)
    assert found["table"] > 0.9


def test_a_model_says_of_a_spectrum_in_a_table_what_it_says_of_a_pixel(pair, tmp_path):
    at, _, _ = pair
    settings = {
        "data": {"scene": str(at / "table"), "patch": 1, "patches": 800},
        "recipe": {"steps": "snv"},
        "task": {"name": "segment"},
        "net": {"name": "mlp", "hidden": [16]},
        "objective": {"name": "supervised", "loss": "cross_entropy"},
        "train": {"steps": 100, "batch": 64, "rate": 1e-2},
    }
    api.train(settings, tmp_path / "net")
    for name in ("scene", "table"):
        api.predict(tmp_path / "net", at / name, tmp_path / name)
    assert_array_equal(stored(tmp_path / "table", "prediction"), stored(tmp_path / "scene", "prediction").ravel())
    assert api.evaluate(tmp_path / "table", at / "table")["oa"] > 0.9
    assert api.predict(tmp_path / "net", at / "scene", tmp_path / "dry", dry_run=True)["tile"] == HEIGHT
    two = api.predict(tmp_path / "net", at / "table", tmp_path / "two", workers=2)
    assert two["rows_done"] == 2
    assert_array_equal(stored(tmp_path / "two", "prediction"), stored(tmp_path / "table", "prediction"))


def test_text_goes_out_and_comes_back(pair, tmp_path):
    at, spectra, labels = pair
    api.export(at / "table", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "class"
    assert_allclose([float(centre) for centre in rows[0][1:]], AXIS.values)
    assert [row[0] for row in rows[1:6]] == ["", "", "", *(CLASSES[k] for k in labels[3:5])]
    api.ingest(tmp_path / "t.csv", tmp_path / "again", wavelength_unit="cm-1")
    assert_array_equal(stored(tmp_path / "again", "cube"), spectra)
    again = Scene.open(str(tmp_path / "again"))
    assert again.spectral.name == AXIS.name
    assert_allclose(again.spectral.values, AXIS.values)
    known = labels != 255
    names = np.array(again.classes())
    assert_array_equal(names[again.labels()[:, 0][known]], np.array(CLASSES)[labels[known]])
    assert (again.labels()[:, 0][~known] == 255).all()


def test_a_table_as_netcdf_has_no_places(pair, tmp_path):
    at, spectra, _ = pair
    api.export(at / "table", tmp_path / "t.nc")
    with xr.open_dataset(tmp_path / "t.nc") as table:
        assert table.cube.dims == ("spectrum", "band")
        assert_array_equal(table.cube, spectra)
        assert table["class"].dims == ("spectrum",)


def test_columns_beside_the_bands_become_layers(tmp_path):
    text = 'species;fat [%];batch;900,5;905\noak;12,5;a;0,25;0,5\n"ash";;b;1;2\n;7;a;;4\n'
    (tmp_path / "t.csv").write_text(text)
    api.ingest(tmp_path / "t.csv", tmp_path / "t")
    with xr.open_zarr(tmp_path / "t") as table:
        assert_array_equal(table.cube, np.array([[0.25, 0.5], [1, 2], [np.nan, 4]], np.float32))
        assert_array_equal(table.fat, [12.5, np.nan, 7])
        assert table.fat.units == "%"
        assert_array_equal(table["class"], [1, 0, 255])
        assert table["class"].flag_meanings == "ash oak"
        assert_array_equal(table.batch, [0, 1, 0])
        assert_allclose(table.wavelength, [900.5, 905])


def test_classes_are_texts_whatever_they_look_like_and_wherever_they_lie(tmp_path):
    rows = [f"{'' if k == 4999 else (10, 9, 'none')[k % 3]},{k},{k}" for k in range(5000)]
    (tmp_path / "t.csv").write_text("\n".join(["class,400,410", *rows, ""]))
    api.ingest(tmp_path / "t.csv", tmp_path / "t")
    scene = Scene.open(str(tmp_path / "t"))
    names = np.array([*scene.classes(), ""])
    found = names[np.where(scene.labels()[:, 0] == 255, len(names) - 1, scene.labels()[:, 0])]
    assert found.tolist() == [row.partition(",")[0] for row in rows]
    (tmp_path / "n.csv").write_text("class,400,410\n10,1,2\n9,1,2\n,1,2\n")
    api.ingest(tmp_path / "n.csv", tmp_path / "n")
    assert Scene.open(str(tmp_path / "n")).classes() == ("9", "10")


def test_columns_of_one_name_or_of_a_name_that_is_taken_are_kept(tmp_path):
    (tmp_path / "t.csv").write_text('"fat, %",fat: %,cube,valid,class,species,400,410\n1,2,3,0,a,b,5,6\n')
    api.ingest(tmp_path / "t.csv", tmp_path / "t")
    with xr.open_zarr(tmp_path / "t") as table:
        assert_array_equal(table.cube, [[5, 6]])
        assert (table["class"].flag_meanings, table["labels_5"].flag_meanings) == ("a", "b")
        assert [float(table[name][0]) for name in ("fat_", "fat__1", "cube_", "valid_")] == [1, 2, 3, 0]


def test_spectra_in_columns_have_their_axis_in_the_first_one(tmp_path):
    (tmp_path / "t.tsv").write_text("Raman shift (cm-1)\tred\tblue\n400,5\t1\t2,5\n401,5\t3\t4\n")
    api.ingest(tmp_path / "t.tsv", tmp_path / "t")
    with xr.open_zarr(tmp_path / "t") as table:
        assert_array_equal(table.cube, np.array([[1, 3], [2.5, 4]], np.float32))
        assert_allclose(table.wavenumber, [400.5, 401.5])
        assert table.sample.flag_meanings.split() == ["blue", "red"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns a, b"),
        ("class,400,410\n", "no spectrum"),
        ("class,400,410\nx,1,oops\n", "'oops' in row 2, column 410"),
        ("", "columns"),
        ("class,400,410\nx,1,2\ny,1\n", "row 3 with 2 cells; expected 3"),
        ("class,400,410\nx,1,2,3\n", "row 2 with 4 cells; expected 3"),
        ("class,400 nm,0.41 um\nx,1,2\n", "nm, um; expected one unit"),
        ("class,a,b\n1,2,3\n", "columns class, a, b"),
    ],
)
def test_text_that_is_no_table_of_spectra_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        api.ingest(tmp_path / "t.csv", tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_scene_is_not_written_as_text(pair, tmp_path):
    at, _, _ = pair
    with pytest.raises(UserError, match="table of spectra"):
        api.export(at / "scene", tmp_path / "t.csv")


def test_one_file_and_a_folder_for_each_class_are_the_same_training_set(tmp_path):
    draw, axis = np.random.default_rng(3), np.linspace(400.5, 900.25, 8).tolist()
    spectra = {f"{name}/s{k}": draw.random(8) + k % 2 for name in ("leaf", "soil") for k in range(6)}
    lines = [",".join(["class", "sample", *map(repr, axis)])]
    for name, values in spectra.items():
        sort, sample = name.split("/")
        (tmp_path / "folder" / sort).mkdir(parents=True, exist_ok=True)
        pairs = [f"{x!r};{y!r}" for x, y in zip(axis, values.tolist(), strict=True)]
        (tmp_path / "folder" / f"{name}.txt").write_text("\n".join(["nm;value", *pairs, ""]))
        lines.append(",".join([sort, sample, *map(repr, values.tolist())]))
    (tmp_path / "one.csv").write_text("\n".join(lines))
    weights = []
    for name, source in (("a", "folder"), ("b", "one.csv")):
        api.ingest(tmp_path / source, tmp_path / f"{name}.zarr", wavelength_unit="nm")
        settings = {
            "data": {"scene": str(tmp_path / f"{name}.zarr"), "patch": 1, "patches": 24},
            "recipe": {"steps": "snv"},
            "task": {"name": "segment"},
            "net": {"name": "mlp", "hidden": [4]},
            "objective": {"name": "supervised", "loss": "cross_entropy"},
            "train": {"steps": 6, "batch": 4, "rate": 1e-2},
        }
        api.train(settings, tmp_path / name)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    with xr.open_zarr(tmp_path / "a.zarr") as folder, xr.open_zarr(tmp_path / "b.zarr") as one:
        assert set(folder.variables) == set(one.variables)
        for variable in folder.variables:
            assert_array_equal(folder[variable], one[variable])
            assert folder[variable].attrs == one[variable].attrs
    assert weights[0] == weights[1]
