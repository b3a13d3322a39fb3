"""Stores: what the viewer shows, opened again whenever it changes, and its description for the page."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.core.types import SpectralAxis
from tilespec.output.pictures import NEAR_INFRARED, TRUE_COLOUR, class_colours, picture_bands
from tilespec.output.report.maps import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    NO_DATA,
    NO_LABEL,
    RIGHT,
    VERDICTS,
    WRONG,
)
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import free_bytes, store_path
from tilespec.storage.group import open_group
from tilespec.storage.layout import COMPLETE, WRITING, class_names
from tilespec.storage.ledger import Ledger
from tilespec.storage.pyramid import EDGE, Pyramid, PyramidLayer
from tilespec.storage.rasters import corner_of, scale_of

ERRORS: Final = "errors"
"""The name of the layer that compares a predicted class map with the labels of an open store."""
VEGETATION: Final = (800.0, 670.0)
"""The wavelengths (nm) of the near infrared and the red of a vegetation index."""
SHARES: Final = {"probability"}
"""The names of rasters whose values are shares, from 0 to 1."""


@final
@dataclass(frozen=True, kw_only=True)
class OpenStore:
    """One store as it was when it was opened."""

    index: int
    """The number of the store on the page."""
    name: str
    """The last part of its path."""
    pyramid: Pyramid
    """The rasters and their coarser copies."""
    attrs: Mapping[str, Any]
    """The root attributes."""
    tag: str | None
    """The tag of the root's metadata when it was opened."""

    @property
    def status(self) -> str:
        """The status: complete, incomplete, or being written."""
        return str(self.attrs.get("tilespec_status", COMPLETE))

    @property
    def place(self) -> tuple[float, float, float]:
        """The column and the row of its first pixel in the scene, and the pixels of the scene in one of its pixels."""
        scale = Fraction(scale_of(self.attrs))
        y, x = corner_of(self.attrs)
        return float(x / scale), float(y / scale), float(1 / scale)

    @property
    def picture(self) -> PyramidLayer | None:
        """The cube, of which pictures and spectra are made."""
        scene = self.pyramid.scene
        return None if scene is None else self.pyramid.layers[scene.cube.name]

    @property
    def axis(self) -> SpectralAxis | None:
        """The spectral axis of the cube."""
        return None if self.pyramid.scene is None else self.pyramid.scene.spectral

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the names of the classes of a layer; a prediction may name them at its root."""
        own = class_names(self.pyramid.layers[name].layer.attrs)
        stated = self.attrs.get("classes") if name == "prediction" else None
        return own or tuple(str(each) for each in stated or ())


@final
class Stores:
    """All stores of a page; each is opened again when its metadata change."""

    def __init__(self, urls: Sequence[str], cache: str | None = None) -> None:
        self.urls, self._cache = list(urls), cache
        self._open: dict[int, OpenStore] = {}
        self._lock = threading.Lock()
        self.notes: dict[int, str] = {}
        """Why the coarser copies of a store cannot be written now."""
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._build, daemon=True)

    def __getitem__(self, index: int) -> OpenStore:
        """Return a store as it is now.

        Raises:
            KeyError: the page has no store of this number.
            UserError: the store is gone or damaged.
        """
        if not 0 <= index < len(self.urls):
            raise KeyError(index)
        url = self.urls[index]
        tag = (store_path(url) / "zarr.json").tag()
        with self._lock:
            known = self._open.get(index)
            if known is None or known.tag != tag:
                known = self._open[index] = self._open_store(index, url, tag)
            return known

    def _open_store(self, index: int, url: str, tag: str | None) -> OpenStore:
        """Open a store."""
        attrs = dict(open_group(url).attrs)
        folder = None if self._cache is None else _cache_of(self._cache, url)
        pyramid = Pyramid.of(url, folder)
        if not pyramid.layers or (pyramid.scene is not None and pyramid.scene.table):
            raise UserError(
                url,
                found="a table of spectra" if pyramid.layers else "no raster",
                expected="a store with places: cube(y, x, band), or a layer over y, x",
                do="`tilespec export TABLE OUT.csv` hands a table on; `tilespec info` says what a store holds.",
            )
        return OpenStore(index=index, name=store_path(url).name, pyramid=pyramid, attrs=attrs, tag=tag)

    def start(self) -> None:
        """Begin to write the coarser copies that are missing, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop writing after the present square, and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _build(self) -> None:
        """Write the coarser copies of each store that is complete; of one that is being written, when it is."""
        finished: set[tuple[int, str | None]] = set()
        while not self._stop.is_set():
            for index in range(len(self.urls)):
                try:
                    store = self[index]
                    if (index, store.tag) in finished or store.status == WRITING or self._stop.is_set():
                        continue
                    self._check_space(store)
                    if store.pyramid.build(Silent(), self._stop.is_set):
                        finished.add((index, store.tag))
                        self.notes.pop(index, None)
                except (UserError, OSError) as error:
                    self.notes[index] = str(error)
            self._stop.wait(2.0)

    @staticmethod
    def _check_space(store: OpenStore) -> None:
        """Refuse to write coarser copies where they do not fit; without them only a close look is quick."""
        pyramid = store.pyramid
        free = free_bytes(str(pyramid.folder.parent)) if pyramid.folder.parent.exists() else free_bytes(".")
        if not pyramid.complete(pyramid.levels) and pyramid.bytes > free:
            raise UserError(
                pyramid.folder,
                found=f"{free:,} bytes free",
                expected=f"{pyramid.bytes:,} for the coarser copies of {store.name}",
                do="Give --cache DIR on a larger disk; zoomed in, pictures need none.",
            )

    def description(self) -> dict[str, Any]:
        """Return what the page shows, as plain data."""
        stores: list[dict[str, Any]] = []
        for index, url in enumerate(self.urls):
            try:
                stores.append(self._described(self[index]))
            except (UserError, OSError) as error:
                stores.append({"index": index, "name": store_path(url).name, "error": str(error)})
        return {"stores": stores, "edge": EDGE, "notes": list(self.notes.values())}

    def _described(self, store: OpenStore) -> dict[str, Any]:
        """Return the description of one store."""
        pyramid, scene = store.pyramid, store.pyramid.scene
        height, width = pyramid.shape
        done = sum(pyramid.complete(level) for level in range(1, pyramid.levels + 1))
        building = _share(pyramid) if done < pyramid.levels else 1.0
        written = _rows(store) if store.status == WRITING else 0
        names = [name for name in pyramid.layers if scene is None or name != scene.cube.name]
        layers = [_layer(store, name) for name in names]
        if self.truth_of(store) is not None:
            layers.append({"name": ERRORS, "kind": "errors", "classes": _verdicts(store), "channels": []})
        return {
            "index": store.index,
            "name": store.name,
            "title": str(store.attrs.get("title") or ""),
            "status": store.status,
            "size": [width, height],
            "place": list(store.place),
            "levels": pyramid.levels,
            "pyramid": building,
            "stamp": f"{store.tag}-{building}-{written}",
            "cube": None if scene is None else _cube(store),
            "layers": layers,
        }

    def truth_of(self, store: OpenStore) -> OpenStore | None:
        """Return the open store whose labels a predicted class map can be compared with, pixel by pixel."""
        layer = store.pyramid.layers.get("prediction")
        if layer is None or not layer.categorical or store.place[2] != 1:
            return None
        for index in range(len(self.urls)):
            with suppress(UserError, OSError):
                other = self[index]
                (x, y, _), (height, width) = store.place, store.pyramid.shape
                inside = y + height <= other.pyramid.shape[0] and x + width <= other.pyramid.shape[1]
                if "labels" in other.pyramid.layers and inside and other.place == (0, 0, 1):
                    return other
        return None


def stores_in(path: str | Path) -> list[str]:
    """Return the store at a path, or all stores directly in a folder.

    Raises:
        UserError: there is none.
    """
    place = store_path(path)
    folder = place.on_disk
    if (place / "zarr.json").exists() or folder is None or not folder.is_dir():
        open_group(str(path))
        return [str(path)]
    names = sorted(child.name for child in folder.iterdir() if (child / "zarr.json").is_file())
    if not names:
        raise UserError(
            path,
            found="a folder without a store",
            expected="a Zarr store, or a folder of some",
            do="Bring other formats in with `tilespec ingest SRC OUT`.",
        )
    return [str(folder / name) for name in names]


def _cache_of(cache: str, url: str) -> StorePath:
    """Return the folder of the coarser copies of one store in a folder of the user's."""
    return store_path(cache) / Pyramid.key(url)


def _rows(store: OpenStore) -> int:
    """Return how many rows of objects of a store that is being written are done."""
    ledger = Ledger.find(store.pyramid.url)
    return 0 if ledger is None else len(ledger.recorded())


def _share(pyramid: Pyramid) -> float:
    """Return the share of the squares of all levels that are written."""
    written = sum(1 for level in range(1, pyramid.levels + 1) for _ in pyramid.recorded(level))
    return round(min(written / max(pyramid.squares, 1), 0.999), 3)


def _layer(store: OpenStore, name: str) -> dict[str, Any]:
    """Return the description of a layer: its kind, and its classes with their colours, or its channels."""
    each, classes = store.pyramid.layers[name], store.classes(name)
    count = each.layer.shape[2] if len(each.layer.shape) == 3 else 0
    kind = "shares" if name in SHARES else "values"
    if each.categorical:
        kind = "classes" if classes or name in ("labels", "prediction") else "ids"
    labels = [*classes, *(str(i) for i in range(len(classes), count))][:count]
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in class_colours(len(classes)).tolist()]
    keys = [{"name": text, "colour": colour} for text, colour in zip(classes, colours, strict=True)]
    if count and name in SHARES:
        labels = list(store.classes("prediction")) if "prediction" in store.pyramid.layers and not classes else labels
        labels = [*labels, *(str(i) for i in range(len(labels), count))][:count]
    return {"name": name, "kind": kind, "classes": keys if kind == "classes" else [], "channels": labels}


def _verdicts(store: OpenStore) -> list[dict[str, str]]:
    """Return the meanings of the colours of the layer of errors."""
    names = store.classes("prediction")
    other, target = names if len(names) == 2 else ("any class", "")
    of_two = {RIGHT, FALSE_POSITIVE, FALSE_NEGATIVE}
    shown = [number for number in VERDICTS if number not in {NO_LABEL, NO_DATA, *(() if target else of_two)}]
    shown = [number for number in shown if number != WRONG or not target]
    texts = [(VERDICTS[i][0].replace("{other}", other).replace("{target}", target), VERDICTS[i][1]) for i in shown]
    return [{"name": text, "colour": "#{:02x}{:02x}{:02x}".format(*colour)} for text, colour in texts]


def _cube(store: OpenStore) -> dict[str, Any]:
    """Return the description of the cube of a store: its bands, its axis, and the pictures that suit it."""
    picture, axis = store.picture, store.axis
    assert picture is not None, "the store has a scene"
    count = picture.layer.shape[2]
    plain = None
    if axis is not None:
        good = None if axis.good is None else list(axis.good)
        plain = {"name": axis.name, "unit": axis.unit, "values": list(axis.values), "good": good}
    return {"name": picture.layer.name, "bands": count, "axis": plain, "presets": _presets(store, axis, count)}


def _presets(store: OpenStore, axis: SpectralAxis | None, count: int) -> list[dict[str, Any]]:
    """Return the pictures that suit the bands of a cube, the best first: title, way of drawing, bands."""
    presets: list[dict[str, Any]] = []

    def add(title: str, mode: str, places: Sequence[float]) -> None:
        if axis is not None and axis.name == "wavelength":
            low, high = min(axis.values) - 20.0, max(axis.values) + 20.0
            if all(low <= place <= high for place in places):
                presets.append({"title": title, "mode": mode, "bands": [axis.nearest(place) for place in places]})

    if store.attrs.get("colour_space") == "sRGB" and count == 3:
        presets.append({"title": "As rendered", "mode": "srgb", "bands": [0, 1, 2]})
    add("True colour", "natural", TRUE_COLOUR)
    add("Near infrared, red, green", "rgb", NEAR_INFRARED)
    add("Vegetation index (NDVI)", "index", VEGETATION)
    if not presets:
        scores = axis is not None and axis.name == "component"
        title = "First scores" if scores else "False colour"
        presets.append({"title": title, "mode": "rgb", "bands": list(picture_bands(axis, count))})
    presets.append({"title": "Single band", "mode": "band", "bands": [count // 2]})
    return presets
