"""What the user says of a source: names of classes, further layers, the width of a pixel, the coordinate system."""

import json

import numpy as np
import pytest
import rasterio
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import info, ingest
from tilespec.output.measure.measure import measure
from tilespec.storage.scene import Scene

SHAPE = (20, 30)


def arrays(folder, **planes):
    """Write a cube and planes as .npy files, and return their paths by name."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    files = {"cube": rng.uniform(0.1, 0.9, (*SHAPE, 5)).astype(np.float32), **planes}
    for name, values in files.items():
        np.save(folder / f"{name}.npy", values)
    return {name: str(folder / f"{name}.npy") for name in files}


def plants(dtype=np.uint16):
    return np.kron(np.arange(6).reshape(2, 3), np.ones((10, 10))).astype(dtype)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dtype=st.sampled_from(["uint8", "int16", "uint16", ">i4", "float32", "float64", "bool"]), seed=st.integers(0, 9))
def test_a_layer_keeps_its_numbers(tmp_path_factory, dtype, seed):
    folder = tmp_path_factory.mktemp("layer")
    values = np.random.default_rng(seed).integers(0, 200, SHAPE).astype(dtype)
    files = arrays(folder, plot=values)
    ingest(files["cube"], str(folder / "scene"), layer={"plot": files["plot"]})
    np.testing.assert_array_equal(Scene.open(str(folder / "scene")).layer("plot"), values)


def test_layers_are_measured_by_number_and_survive_binning(tmp_path):
    files = arrays(tmp_path / "in", plant=plants(), depth=plants("float32"), labels=(plants() > 2).astype(np.uint8))
    out = str(tmp_path / "scene")
    ingest(files["cube"], out, labels=files["labels"], layer={"plant": files["plant"], "depth": files["depth"]})
    assert set(Scene.open(out).layers) == {"labels", "plant", "depth"}
    assert info(out)["provenance"]["layers"] == {"plant": "plant.npy", "depth": "depth.npy"}
    found = measure(out, out, str(tmp_path / "t.csv"))
    assert (found["objects"], found["object_pixels"]) == (5, 500)
    ingest(files["cube"], str(tmp_path / "half"), bin=2, layer={"plant": files["plant"]})
    np.testing.assert_array_equal(Scene.open(str(tmp_path / "half")).layer("plant"), plants()[1::2, 1::2])


def test_what_a_layer_says_has_no_data_is_no_object(tmp_path):
    """Polygons leave 255 beside them, and rasters have a value of their own: neither is a plant of that number."""
    ring = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    shape = {"type": "Feature", "properties": {"plot": 7}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    plots = {"type": "FeatureCollection", "crs": "pixel", "features": [shape]}
    (tmp_path / "plots.geojson").write_text(json.dumps(plots))
    header = "ENVI\nsamples = 30\nlines = 20\nbands = 1\ndata type = 2\ninterleave = bsq\nbyte order = 0\n"
    (tmp_path / "plant.hdr").write_text(header + "data ignore value = -1\n")
    np.where(plants() == 5, -1, plants()).astype("<i2").tofile(tmp_path / "plant.raw")
    files, out = arrays(tmp_path / "in", labels=np.ones(SHAPE, np.uint8)), str(tmp_path / "scene")
    layers = {"plot": str(tmp_path / "plots.geojson:plot"), "plant": str(tmp_path / "plant.hdr")}
    ingest(files["cube"], out, labels=files["labels"], layer=layers)
    for by, objects in {"plot": 1, "plant": 4}.items():
        found = measure(out, out, str(tmp_path / f"{by}.csv"), by=by)
        assert (found["objects"], found["object_pixels"]) == (objects, 100 * objects)


def test_a_layer_of_named_classes_is_a_class_map(tmp_path):
    files = arrays(tmp_path / "in")
    header = "ENVI\nsamples = 30\nlines = 20\nbands = 1\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
    text = header + "file type = ENVI Classification\nclasses = 6\nclass names = {none, a, b, c, d, e}\n"
    (tmp_path / "plot.hdr").write_text(text)
    plants(np.uint8).tofile(tmp_path / "plot.raw")
    ingest(files["cube"], str(tmp_path / "scene"), layer={"plot": str(tmp_path / "plot.hdr")})
    assert Scene.open(str(tmp_path / "scene")).classes("plot") == ("none", "a", "b", "c", "d", "e")


@pytest.mark.parametrize("name", ["labels", "cube", "1plant", "a-b", "", "wavelength", "x"])
def test_names_of_other_arrays_are_refused(tmp_path, name):
    files = arrays(tmp_path / "in", plant=plants())
    with pytest.raises(UserError, match=r"--layer.*letters, digits"):
        ingest(files["cube"], str(tmp_path / "scene"), layer={name: files["plant"]}, dry_run=True)


def test_a_layer_of_another_size_is_refused(tmp_path):
    files = arrays(tmp_path / "in", plant=plants()[:, :-1])
    with pytest.raises(UserError, match=r"plant=.*20 x 29.*20 x 30"):
        ingest(files["cube"], str(tmp_path / "scene"), layer={"plant": files["plant"]})


def test_classes_have_the_names_that_are_given(tmp_path):
    files = arrays(tmp_path / "in", labels=(plants() % 4).astype(np.uint8))
    names = 'water,"tree, old",bare soil,road'
    found = ingest(files["cube"], str(tmp_path / "a"), labels=files["labels"], class_names=names)
    assert found["classes"] == ["water", "tree, old", "bare soil", "road"]
    assert list(Scene.open(str(tmp_path / "a")).classes()) == found["classes"]
    moved = ingest(files["cube"], str(tmp_path / "b"), labels=files["labels"], ignore_label=0, class_names="a,b,c,d")
    assert (moved["classes"], moved["label_counts"][3]) == (["a", "b", "c", "d"], 0)
    for few in ("water,soil", "a,a,b,c", "a,,b,c"):
        with pytest.raises(UserError, match=r"--class-names.*classes 0 to 3"):
            ingest(files["cube"], str(tmp_path / "c"), labels=files["labels"], class_names=few, dry_run=True)
    notes = ingest(files["cube"], str(tmp_path / "d"), class_names="a,b", dry_run=True)["notes"]
    assert any("there are no labels" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "told"),
    [("unlabelled", 1), ("Unlabeled", 1), ("Background", 1), ("not classified", 1), ("no data", 1), ("water", 0)],
)
def test_a_class_0_that_means_nothing_is_told_of(tmp_path, name, told):
    files = arrays(tmp_path / "in", labels=(plants() % 2).astype(np.uint8))
    given_names = {"labels": files["labels"], "class_names": f"{name},leaf"}
    notes = ingest(files["cube"], str(tmp_path / "a"), dry_run=True, **given_names)["notes"]
    assert any("--ignore-label 0" in note for note in notes) == bool(told)


def test_the_width_of_a_pixel_gives_areas(tmp_path):
    files = arrays(tmp_path / "in", plant=plants(), labels=np.ones(SHAPE, np.uint8))
    out = str(tmp_path / "scene")
    ingest(files["cube"], out, labels=files["labels"], layer={"plant": files["plant"]}, pixel_size=0.002, bin=2)
    assert measure(out, out, str(tmp_path / "t.csv"))["pixel_area_m2"] == pytest.approx(0.004**2)
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--pixel-size"):
            ingest(files["cube"], out, pixel_size=size, dry_run=True)


def placed(path, crs, shape=SHAPE):
    where = rasterio.Affine(10, 0, 500000, 0, -10, 5800000)
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 3, "dtype": "float32"}
    with rasterio.open(path, "w", transform=where, crs=crs, **profile) as file:
        file.write(np.random.default_rng(0).uniform(0, 1, (3, *shape)).astype(np.float32))
    return str(path)


def test_the_system_that_is_given_takes_the_place_of_the_sources(tmp_path):
    bare, known = placed(tmp_path / "bare.tif", None), placed(tmp_path / "known.tif", "EPSG:32633")
    assert not [note for note in ingest(bare, str(tmp_path / "a"), crs="EPSG:32632")["notes"] if "CRS" in note]
    assert info(tmp_path / "a")["crs"] == "EPSG:32632"
    assert info(tmp_path / "a")["geotransform"].split()[0].startswith("500000")
    notes = ingest(known, str(tmp_path / "b"), crs="EPSG:32632")["notes"]
    assert any("takes the place" in note for note in notes)
    assert info(tmp_path / "b")["crs"] == "EPSG:32632"
    with pytest.raises(UserError, match="--crs"):
        ingest(known, str(tmp_path / "c"), crs="EPSG:0", dry_run=True)
    with pytest.raises(UserError, match="without coordinates"):
        ingest(arrays(tmp_path / "in")["cube"], str(tmp_path / "c"), crs="EPSG:32632", dry_run=True)
    with pytest.raises(UserError, match=r"--pixel-size.*UTM zone 33N"):
        ingest(known, str(tmp_path / "c"), pixel_size=2.0, dry_run=True)


def test_options_that_are_not_given_leave_the_settings_as_they_were(tmp_path):
    """A scene that an earlier version began is finished by this one."""
    files = arrays(tmp_path / "in")
    ingest(files["cube"], str(tmp_path / "a"))
    settings_of = zarr.open_group(str(tmp_path / "a")).attrs["provenance"]
    assert "layers" not in settings_of
