"""Server: the addresses of the page, each answered from the open stores."""

import json
from collections.abc import Callable
from functools import partial, wraps
from importlib.resources import files
from typing import Any, Final

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED
from tilespec.output.pictures import class_colours
from tilespec.output.view.access import Access
from tilespec.output.view.draw import Drawing
from tilespec.output.view.layers import Look, NoTileError, TileLayers, with_bands
from tilespec.output.view.spectra import pixel, region
from tilespec.output.view.stores import Stores
from tilespec.storage.backends.paths import store_path

STATIC: Final = {
    "view.js": "text/javascript",
    "view.css": "text/css",
    "openseadragon.min.js": "text/javascript",
    "uPlot.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "openseadragon.LICENSE.txt": "text/plain",
    "uPlot.LICENSE.txt": "text/plain",
}
"""The files of the page, and nothing else of any folder."""
MODES: Final = {"rgb", "natural", "srgb", "index", "band", "layer"}
LARGEST: Final = 1 << 24
"""The largest number of bytes of a drawing."""
CORNERS: Final = 500
"""The largest number of corners of a region."""
FRESH: Final = {"Cache-Control": "no-store"}
"""Answers that may change are asked for again."""
KEPT: Final = {"Cache-Control": "private, max-age=86400"}
"""Tiles have the stamp of their store in their address."""

Answer = Callable[[Request], Response]


def application(stores: Stores, token: str | None = None, drawing: Drawing | None = None) -> Access:
    """Return the ASGI application of a page, which only reads without a drawing.

    Args:
        stores: The open stores.
        token: The text that every request must know; None: a random one.
        drawing: The labels that may be drawn on the plane of the first store.
    """
    layers = TileLayers(stores)
    routes = [
        Route("/", _page),
        Route("/favicon.ico", _no_icon),
        Route("/static/{name}", _static),
        Route("/description", _guarded(lambda _: JSONResponse(_description(stores, drawing), headers=FRESH))),
        Route(
            "/tile/{store:int}/{layer}/{z:int}/{x:int}/{y:int}.png", _guarded(lambda request: _tile(layers, request))
        ),
        Route("/limits/{store:int}/{layer}", _guarded(lambda request: _limits(layers, request))),
        Route("/spectrum", _guarded(lambda request: _spectrum(stores, request))),
        Route("/region", _guarded(lambda request: _region(stores, request))),
    ]
    if drawing is not None:
        routes += [
            Route("/labels", _guarded(lambda _: JSONResponse(drawing.shapes(), headers=FRESH)), methods=["GET"]),
            Route("/labels", partial(_save, stores, drawing), methods=["POST"]),
        ]
    writable = frozenset() if drawing is None else frozenset({"/labels"})
    named = {} if token is None else {"token": token}
    return Access(app=Starlette(routes=routes), writable=writable, **named)


def _guarded(answer: Answer) -> Answer:
    """Return an answer that is a message where the request, or the store, is at fault."""

    @wraps(answer)
    def guarded(request: Request) -> Response:
        try:
            return answer(request)
        except (NoTileError, KeyError) as error:
            return _message(404, f"There is no {error}.")
        except UserError as error:
            return _message(409, str(error))
        except OSError as error:
            return _message(503, f"The store cannot be read: {error.strerror or error}.")
        except ValueError as error:
            return _message(400, str(error))

    return guarded


def _message(status: int, text: str) -> Response:
    """Return a message as JSON."""
    return JSONResponse({"error": text}, status, headers=FRESH)


def _file(name: str) -> bytes:
    """Return a file of the page."""
    return files("tilespec.output.view").joinpath("static", name).read_bytes()


def _description(stores: Stores, drawing: Drawing | None) -> dict[str, Any]:
    """Return what the page shows, and the colours of the classes that it may draw."""
    draws = None if drawing is None else store_path(drawing.out).name
    palette = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in class_colours(UNLABELLED).tolist()]
    return stores.description() | {"draws": draws, "palette": palette if draws else []}


async def _save(stores: Stores, drawing: Drawing, request: Request) -> Response:
    """Answer with the pixels of each class after saving what was drawn on the plane of the first store."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            return _message(413, f"Expected at most {LARGEST:,} bytes.")

    def save(_: Request) -> Response:
        return JSONResponse(drawing.save(json.loads(body), stores[0]), headers=FRESH)

    return await run_in_threadpool(_guarded(save), request)


async def _page(_: Request) -> Response:
    """Answer with the page."""
    return Response(_file("index.html"), media_type="text/html", headers=FRESH)


async def _no_icon(_: Request) -> Response:
    """Answer that the page has no icon."""
    return Response(status_code=204)


async def _static(request: Request) -> Response:
    """Answer with a file of the page by its name in the table."""
    name = request.path_params["name"]
    if name not in STATIC:
        return PlainTextResponse("There is no such file.\n", 404)
    return Response(_file(name), media_type=STATIC[name], headers={"Cache-Control": "private, no-cache"})


def _tile(layers: TileLayers, request: Request) -> Response:
    """Answer with a tile."""
    at = request.path_params
    look = _look(layers, request)
    picture = layers.tile(at["store"], at["layer"], (at["z"], at["x"], at["y"]), look)
    return Response(picture, media_type="image/png", headers=KEPT if "v" in request.query_params else FRESH)


def _limits(layers: TileLayers, request: Request) -> Response:
    """Answer with the values that become the darkest and the lightest colour."""
    at, look = request.path_params, _look(layers, request)
    return JSONResponse({"limits": layers.ends(at["store"], at["layer"], look)}, headers=FRESH)


def _look(layers: TileLayers, request: Request) -> Look:
    """Return the look that a request names.

    Raises:
        ValueError: it is none.
    """
    query = request.query_params
    mode, stretch = query.get("mode", "layer"), _numbers(query.get("stretch", "2,98"))
    bands = tuple(int(word) for word in query.get("bands", "").split(",") if word)
    gamma = float(query.get("gamma", "1"))
    if mode not in MODES or len(stretch) != 2 or not 0 <= stretch[0] < stretch[1] <= 100 or not 0.1 <= gamma <= 10:
        raise ValueError("Expected mode, two percentiles in ascending order, and a gamma from 0.1 to 10.")
    look = Look(mode=mode, bands=bands, stretch=(stretch[0], stretch[1]), gamma=gamma)  # type: ignore[arg-type]
    layer = layers.stores[request.path_params["store"]].pyramid.layers.get(request.path_params["layer"])
    return look if layer is None else with_bands(look, layer.layer.shape[2] if len(layer.layer.shape) == 3 else 0)


def _spectrum(stores: Stores, request: Request) -> Response:
    """Answer with the spectrum of a pixel."""
    query = request.query_params
    x, y = _numbers(f"{query['x']},{query['y']}")
    return JSONResponse(pixel(stores, int(query.get("store", "0")), x, y), headers=FRESH)


def _region(stores: Stores, request: Request) -> Response:
    """Answer with the mean and the deviation of a region, whose corners are ``x,y;x,y;...``."""
    query = request.query_params
    corners = [_numbers(pair) for pair in query["polygon"].split(";")]
    if not 3 <= len(corners) <= CORNERS or any(len(corner) != 2 for corner in corners):
        raise ValueError(f"Expected 3 to {CORNERS} corners, x,y;x,y;...")
    return JSONResponse(region(stores[int(query.get("store", "0"))], np.array(corners, np.float64)), headers=FRESH)


def _numbers(text: str) -> list[float]:
    """Return the finite numbers of a text with commas.

    Raises:
        ValueError: it has something else.
    """
    numbers = [float(word) for word in text.split(",")]
    if not np.isfinite(numbers).all():
        raise ValueError("Expected finite numbers.")
    return numbers
