"""The server of the viewer: who may ask, what it answers, and that it changes no store and runs no text of users."""

import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import Roi, SpectralAxis
from tilespec.output.pictures import class_colours
from tilespec.output.report.maps import FALSE_NEGATIVE, FALSE_POSITIVE, RIGHT, RIGHT_OTHER, VERDICTS
from tilespec.output.view.draw import Drawing
from tilespec.output.view.server import STATIC, application
from tilespec.output.view.spectra import outlined
from tilespec.output.view.stores import Stores, stores_in
from tilespec.storage.layer import label_map
from tilespec.storage.layout import class_names, constants, cube_spec, layer_spec
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

TOKEN = "t0ken"
HOSTILE = "<script>alert(1)</script>"


def write(path, arrays, attrs=None, constant=None):
    """Write a store of arrays, name to description and values."""
    specs = [spec for spec, _ in arrays.values()]
    product = Product.open(str(path), specs, settings={"test": str(path)}, attrs=attrs or {}, constants=constant or {})
    blocks = {name: values for name, (_, values) in arrays.items()}
    for row in range(product.rows):
        y0, y1 = product.span(row)
        product.write(row, {name: values[y0:y1] for name, values in blocks.items()})
    product.finish()
    return str(path)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("view") / "scene", 300, 280, 9, nan=0.05, unlabelled=0.1, chunk=64)


@pytest.fixture(scope="module")
def prediction(scene, tmp_path_factory):
    labels = Scene.open(scene).labels().copy()
    labels[labels == 255] = 0
    labels[:40] = 1 - labels[:40]
    spec = layer_spec("prediction", labels.shape, classes=("background", "plant"), chunk=64)
    return write(tmp_path_factory.mktemp("view") / "pred", {"prediction": (spec, labels)})


@pytest.fixture(scope="module")
def stores(scene, prediction):
    stores = Stores([scene, prediction])
    for index in (0, 1):
        stores[index].pyramid.build(Silent())
    return stores


def page_of(stores):
    """Return a client that knows the token of a page about stores."""
    page = application(stores, TOKEN)
    return TestClient(page, base_url="http://127.0.0.1:8000", cookies={page.cookie: TOKEN})


@pytest.fixture(scope="module")
def client(stores):
    return page_of(stores)


def picture(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


PLACES = ("/", "/description", "/static/view.js", "/tile/0/cube/0/0/0.png", "/spectrum?x=1&y=1", "/region", "/nowhere")


@pytest.mark.parametrize("path", PLACES)
def test_nothing_is_answered_without_the_token(stores, path):
    stranger = TestClient(application(stores, TOKEN), base_url="http://127.0.0.1:8000")
    assert stranger.get(path).status_code == 401
    assert stranger.get(path, params={"token": "t0kem"}).status_code == 401
    assert stranger.get(path, headers={"cookie": f"{application(stores, TOKEN).cookie}=wrong"}).status_code == 401
    assert stranger.get(path, headers={"cookie": "a=b; =; ;;"}).status_code == 401


def test_the_page_sets_a_cookie_that_serves_instead_of_the_token(stores):
    browser = TestClient(application(stores, TOKEN), base_url="http://127.0.0.1:8000")
    answer = browser.get("/", params={"token": TOKEN})
    assert {"HttpOnly", "SameSite=Strict"} <= set(re.split(r"; ", answer.headers["set-cookie"]))
    assert browser.get("/description").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "", "[::2]:80"])
def test_other_names_of_the_host_are_refused(client, host):
    assert client.get("/description", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:1", "[::1]:80", "localhost"])
def test_a_tunnel_may_have_another_port(client, host):
    assert client.get("/description", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_allowed(client, method):
    assert client.request(method, "/description").status_code == 405


@pytest.mark.parametrize("path", PLACES[:4])
def test_a_browser_is_told_to_load_from_this_server_alone(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*|data:", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_names_no_other_place_and_has_no_inline_code():
    page = files("tilespec.output.view").joinpath("static", "index.html").read_text()
    assert not re.search(
        r"https?:|//|<script(?![^>]*src=)|\son\w+=|<style|\sstyle=", page.replace("<!doctype html>", "")
    )
    assert set(re.findall(r'(?:src|href)="static/([^"]+)"', page)) <= set(STATIC)
    own = files("tilespec.output.view").joinpath("static", "view.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", own)


@pytest.mark.parametrize("name", STATIC)
def test_the_files_of_the_page_are_there(client, name):
    assert client.get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static/../../../../etc/passwd",
        "/static/index.html%00",
        "/tile/0/..%2f..%2fcube/0/0/0.png",
        "/tile/0/wavelength/0/0/0.png",
        "/tile/7/cube/0/0/0.png",
        "/tile/-1/cube/0/0/0.png",
        "/tile/0/cube/99/0/0.png?mode=band&bands=1",
        "/tile/0/cube/0/9/0.png?mode=band&bands=1",
        "/tile/0/cube/0/0/0.png?mode=band&bands=9",
        "/tile/0/cube/0/0/0.png?mode=rgb&bands=1",
        "/limits/0/nothing",
    ],
)
def test_what_is_not_there_is_not_found(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/tile/0/cube/0/0/0.png?mode=magic",
        "/tile/0/cube/0/0/0.png?mode=band&bands=x",
        "/tile/0/cube/0/0/0.png?mode=band&bands=1&stretch=98,2",
        "/tile/0/cube/0/0/0.png?mode=band&bands=1&stretch=2,nan",
        "/tile/0/cube/0/0/0.png?mode=band&bands=1&gamma=nan",
        "/spectrum?x=nan&y=1",
        "/spectrum?x=1&y=inf",
        "/region?polygon=1,1;2,2",
        "/region?polygon=1,1;2,2;3",
    ],
)
def test_nonsense_is_refused_with_a_message(client, path):
    answer = client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_description_says_what_the_stores_hold(client):
    scene, prediction = client.get("/description").json()["stores"]
    assert (scene["size"], scene["pyramid"], scene["levels"]) == ([280, 300], 1.0, 1)
    assert scene["cube"]["axis"]["unit"] == "nm"
    assert [preset["title"] for preset in scene["cube"]["presets"]][:2] == ["True colour", "Near infrared, red, green"]
    (labels,) = scene["layers"]
    red, green, blue = class_colours(2)[1].tolist()
    assert labels["classes"][1] == {"name": "plant", "colour": f"#{red:02x}{green:02x}{blue:02x}"}
    assert [layer["name"] for layer in prediction["layers"]] == ["prediction", "errors"]


def test_a_pixel_has_the_spectrum_of_the_store_and_says_what_the_layers_say(client, scene):
    cube, labels = Scene.open(scene).read(Roi(y0=0, y1=300, x0=0, x1=280)), Scene.open(scene).labels()
    for x, y in ((0, 0), (279, 299), (100, 37)):
        answer = client.get("/spectrum", params={"x": x + 0.9, "y": y + 0.1}).json()
        values = [np.nan if value is None else value for value in answer["values"]]
        np.testing.assert_array_equal(np.float32(values), cube[y, x])
        said = {each["name"]: each["text"] for each in answer["layers"]}
        assert said["labels"] == {0: "background", 1: "plant", 255: "unlabelled"}[int(labels[y, x])]
        assert set(said) == {"labels", "prediction"}


@pytest.mark.parametrize("place", [(-1, 5), (5, 300), (280, 5)])
def test_a_place_outside_of_the_picture_has_no_spectrum(client, place):
    answer = client.get("/spectrum", params=dict(zip("xy", place, strict=True)))
    assert answer.status_code == 409
    assert "expected a pixel of 280 x 300" in answer.json()["error"]


def test_a_region_has_the_mean_and_the_deviation_of_its_pixels(client, scene):
    corners = [(20, 30.2), (250, 60), (130, 280), (60, 120)]
    answer = client.get("/region", params={"polygon": ";".join(f"{x},{y}" for x, y in corners)}).json()
    mask = outlined(np.array(corners, float)).mask(Roi(y0=0, y1=300, x0=0, x1=280))
    values = Scene.open(scene).read(Roi(y0=0, y1=300, x0=0, x1=280))[mask].astype(np.float64)
    assert answer["pixels"] == mask.sum()
    np.testing.assert_allclose(answer["mean"], np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(answer["deviation"], np.nanstd(values, axis=0, ddof=1), rtol=1e-10)


def test_a_polygon_holds_the_pixels_whose_centre_it_holds():
    roi = Roi(y0=0, y1=6, x0=0, x1=8)
    rectangle = np.array([(2, 1), (5, 1), (5, 4), (2, 4)], float)
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(outlined(rectangle).mask(roi), expected)
    np.testing.assert_array_equal(outlined(rectangle[::-1]).mask(roi), expected)
    triangle = outlined(np.array([(0, 0), (8, 0), (0, 6)], float)).mask(roi)
    yy, xx = np.mgrid[0.5:6, 0.5:8]
    np.testing.assert_array_equal(triangle, xx / 8 + yy / 6 < 1)


def test_a_tile_has_the_pixels_of_its_level_and_shows_no_data_as_nothing(client, scene):
    tile = picture(client.get("/tile/0/cube/1/1/1.png?mode=band&bands=4"))
    values = Scene.open(scene).read(Roi(y0=256, y1=300, x0=256, x1=280))[..., 4]
    assert tile.shape == (44, 24, 4)
    np.testing.assert_array_equal(tile[..., 3] == 0, np.isnan(values))
    low, high = client.get("/limits/0/cube?mode=band&bands=4").json()["limits"][0]
    shares = np.rint(255 * np.clip((values - low) / (high - low), 0, 1))
    np.testing.assert_allclose(tile[..., 0][~np.isnan(values)], shares[~np.isnan(values)], atol=1)
    assert picture(client.get("/tile/0/cube/0/0/0.png?mode=index&bands=6,4")).shape == (150, 140, 4)


def test_a_tile_of_classes_has_their_colours(client, scene):
    tile = picture(client.get("/tile/0/labels/1/0/0.png"))
    labels = Scene.open(scene).labels()[:256, :256]
    np.testing.assert_array_equal(tile[labels < 2][:, :3], class_colours(2)[labels[labels < 2]])
    np.testing.assert_array_equal(tile[..., 3], np.where(labels == 255, 0, 255))


def test_errors_have_the_colours_of_the_report(client, stores):
    tile = picture(client.get("/tile/1/errors/1/0/0.png"))
    truth, predicted = (stores[i].pyramid.layers[n].layer.read(Roi(y0=0, y1=256, x0=0, x1=256)) for i, n in NAMED)
    for pair, verdict in {(0, 0): RIGHT_OTHER, (1, 1): RIGHT, (0, 1): FALSE_POSITIVE, (1, 0): FALSE_NEGATIVE}.items():
        there = (truth == pair[0]) & (predicted == pair[1])
        assert there.any()
        assert (tile[there] == (*VERDICTS[verdict][1], 255)).all()
    assert (tile[truth == 255][:, 3] == 0).all()


NAMED = ((0, "labels"), (1, "prediction"))


def test_text_of_users_is_data_and_never_part_of_the_page(tmp_path):
    axis = SpectralAxis(name="wavelength", unit="nm", values=(500.0, 600.0, 700.0))
    cube = (cube_spec((20, 20, 3), "float32", spectral=axis), np.ones((20, 20, 3), np.float32))
    labels = (layer_spec("labels", (20, 20), classes=(HOSTILE, "b")), np.zeros((20, 20), np.uint8))
    path = write(tmp_path / "<b>x", {"cube": cube, "labels": labels}, {"title": HOSTILE}, constants(axis))
    client = page_of(Stores([path]))
    assert "script>alert" not in client.get("/").text
    answer = client.get("/description")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["stores"][0]["layers"][0]["classes"][0]["name"] == HOSTILE
    assert client.get("/spectrum?x=1&y=1").json()["layers"][0]["text"] == HOSTILE


def test_a_part_of_a_scene_lies_where_it_was_predicted(scene, tmp_path):
    spec = layer_spec("prediction", (50, 60), classes=("background", "plant"), chunk=50)
    part = write(tmp_path / "part", {"prediction": (spec, np.zeros((50, 60), np.uint8))}, {"origin": [100, 30]})
    half = write(tmp_path / "half", {"prediction": (spec, np.zeros((50, 60), np.uint8))}, {"grid": {"scale": "1/2"}})
    places = [store["place"] for store in Stores([scene, part, half]).description()["stores"]]
    assert places == [[0, 0, 1], [30, 100, 1], [0, 0, 2]]
    client = page_of(Stores([scene, part]))
    tile = picture(client.get("/tile/1/errors/0/0/0.png"))
    truth = Scene.open(scene).labels()[100:150, 30:90]
    assert (tile[truth == 1] == (*VERDICTS[FALSE_NEGATIVE][1], 255)).all()


def test_a_product_that_is_being_written_is_shown_and_refreshed(tmp_path):
    spec = layer_spec("prediction", (96, 40), classes=("a", "b"), chunk=32)
    product = Product.open(str(tmp_path / "p"), [spec], settings={"a": 1}, attrs={}, constants={})
    client = page_of(Stores([str(tmp_path / "p")]))
    stamps = []
    for row in range(3):
        (store,) = client.get("/description").json()["stores"]
        assert store["status"] == "writing"
        stamps.append(store["stamp"])
        product.write(row, {"prediction": np.ones((32, 40), np.uint8)})
        tile = picture(client.get("/tile/0/prediction/0/0/0.png"))
        assert (tile[..., 3].all(axis=1) == (np.arange(96) < 32 * (row + 1))).all()
    product.finish()
    (store,) = client.get("/description").json()["stores"]
    assert (store["status"], len({*stamps, store["stamp"]})) == ("complete", 4)


def test_a_store_that_goes_away_is_a_message(scene, tmp_path):
    shutil.copytree(scene, tmp_path / "s")
    client = page_of(Stores([str(tmp_path / "s")]))
    assert client.get("/spectrum?x=1&y=1").status_code == 200
    shutil.rmtree(tmp_path / "s")
    assert client.get("/spectrum?x=1&y=1").status_code == 409
    assert "error" in client.get("/description").json()["stores"][0]


def test_a_folder_is_all_stores_in_it(scene, tmp_path):
    shutil.copytree(scene, tmp_path / "b")
    shutil.copytree(scene, tmp_path / "a")
    assert stores_in(tmp_path) == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(UserError, match="a folder without a store"):
        stores_in(tmp_path / "a" / "cube" / "c")
    with pytest.raises(UserError, match="found nothing"):
        stores_in(tmp_path / "c")


SHAPES = {
    "classes": ["soil", HOSTILE],
    "shapes": [
        {"class": 0, "points": [[10, 20], [200, 20], [200, 150], [10, 150]], "radius": None},
        {"class": 1, "points": [[50, 60], [120, 140], [260, 140]], "radius": 7.5},
        {"class": None, "points": [[100.2, 110.7]], "radius": 12},
    ],
}


@pytest.fixture
def drawn(scene, tmp_path):
    """Return a client that may draw, and the place of the labels."""
    out = str(tmp_path / "drawn.zarr")
    page = application(Stores([scene]), TOKEN, Drawing.of(out))
    headers = {"origin": "http://127.0.0.1:8000"}
    client = TestClient(page, base_url="http://127.0.0.1:8000", cookies={page.cookie: TOKEN}, headers=headers)
    return client, out


def test_shapes_become_labels_in_a_store_of_their_own(drawn, scene):
    client, out = drawn
    before = Scene.open(scene).digest
    answer = client.post("/labels", json=SHAPES)
    assert answer.status_code == 200, answer.text
    y, x = np.mgrid[0.5:300, 0.5:280]
    expected = np.full((300, 280), 255, np.uint8)
    expected[20:150, 10:200] = 0
    near = np.full(x.shape, np.inf)
    for (xa, ya), (xb, yb) in ((50, 60), (120, 140)), ((120, 140), (260, 140)):
        share = np.clip(((x - xa) * (xb - xa) + (y - ya) * (yb - ya)) / ((xb - xa) ** 2 + (yb - ya) ** 2), 0, 1)
        near = np.minimum(near, np.hypot(x - xa - share * (xb - xa), y - ya - share * (yb - ya)))
    expected[near <= 7.5] = 1
    expected[np.hypot(x - 100.2, y - 110.7) <= 12] = 255
    labels = label_map(out)
    np.testing.assert_array_equal(labels.read(Roi(y0=0, y1=300, x0=0, x1=280)), expected)
    assert class_names(labels.attrs) == ("soil", HOSTILE)
    assert answer.json()["pixels"] == {"soil": int((expected == 0).sum()), HOSTILE: int((expected == 1).sum())}
    assert client.get("/labels").json() == SHAPES
    assert Scene.open(scene).digest == before


def test_a_drawing_is_continued_and_written_again(drawn):
    client, out = drawn
    for count in (1, 3, 2):
        part = SHAPES | {"shapes": SHAPES["shapes"][:count]}
        assert client.post("/labels", json=part).status_code == 200
        assert Drawing.of(out).shapes() == part
        assert client.post("/labels", json=part).status_code == 200


def test_only_the_page_itself_may_draw_and_only_if_it_was_allowed(drawn, client, tmp_path):
    allowed, _ = drawn
    assert client.get("/labels").status_code == 404
    assert client.post("/labels", json=SHAPES, headers={"origin": "http://127.0.0.1:8000"}).status_code == 405
    for origin in ("http://evil.example", "http://localhost:8000", "http://127.0.0.1:8001", "null"):
        assert allowed.post("/labels", json=SHAPES, headers={"origin": origin}).status_code == 403
    assert (
        allowed.post("/labels", content=json.dumps(SHAPES), headers={"content-type": "text/plain"}).status_code == 403
    )
    assert allowed.post("/description", json=SHAPES).status_code == 405
    allowed.cookies.clear()
    assert allowed.post("/labels", json=SHAPES).status_code == 401
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        {},
        {"classes": [], "shapes": []},
        {"classes": [""], "shapes": []},
        {"classes": ["x" * 101], "shapes": []},
        {"classes": ["a"] * 255, "shapes": []},
        {"classes": ["a"], "shapes": [{"class": 1, "points": [[0, 0], [1, 1], [0, 1]]}]},
        {"classes": ["a"], "shapes": [{"class": "0", "points": [[0, 0], [1, 1], [0, 1]]}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 0], [1, 1]]}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 0], [1, 1], [0]]}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 0]], "radius": -1}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 0]], "radius": "wide"}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 1e400], [1, 1], [0, 1]]}]},
        {"classes": ["a"], "shapes": [{"class": 0, "points": [[0, 0]] * 200_001, "radius": 1}]},
    ],
)
def test_a_drawing_that_is_none_is_refused(drawn, tmp_path, data):
    client, _ = drawn
    answer = client.post("/labels", content=json.dumps(data), headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_not_drawn_is_never_replaced(scene):
    with pytest.raises(UserError, match="something that was not drawn"):
        Drawing.of(scene)


def test_a_dry_run_serves_nothing_and_writes_nothing(scene, tmp_path):
    shutil.copytree(scene, tmp_path / "s")
    plan = api.view([str(tmp_path / "s")], dry_run=True)
    assert (plan.levels, plan.stores) == ([1], [str(tmp_path / "s")])
    assert not list((tmp_path / "s.tilespec").rglob("*.json"))


def test_a_port_that_is_taken_is_a_message(scene):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="--port"):
        api.view([scene], port=taken.getsockname()[1])


def test_the_command_prints_its_address_and_ends_when_it_is_interrupted(scene, tmp_path):
    command = [sys.executable, "-m", "tilespec", "view", scene, "--cache", str(tmp_path / "cache")]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **heard)
    url = server.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32,}", url)
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.status == 200
    description = json.loads(urllib.request.urlopen(url.replace("/?", "/description?"), timeout=60).read())
    assert description["stores"][0]["name"] == "scene"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url.partition("?")[0], timeout=60)
    server.send_signal(signal.SIGINT)
    out, _ = server.communicate(timeout=60)
    assert (server.returncode, out) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
