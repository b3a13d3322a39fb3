"""View: the verb ``view`` serves a page on which stores are looked at."""

import socket
import threading
import time
import webbrowser
from collections.abc import Sequence
from typing import Any, Final

import uvicorn

from tilespec.core.errors import UserError
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.signals import LocalFlag, catch_signals
from tilespec.output.view.draw import Drawing
from tilespec.output.view.options import ViewOptions
from tilespec.output.view.server import application
from tilespec.output.view.stores import Stores, stores_in

HOST: Final = "127.0.0.1"
"""The only address that is served: this machine, for its own users."""


@with_options(ViewOptions)
def view(stores: Sequence[str], options: ViewOptions, progress: Progress) -> dict[str, Any]:
    """Serve a page about stores on this machine until it is interrupted; return its address and what it shows.

    Coarser copies for quick zooming are written while the page is open, beside the stores, once for each content.

    Args:
        stores: Scenes, predictions and other stores, or folders that hold some.
        options: Where the page is served; given by name.
        progress: Where it is said how to end.

    Raises:
        UserError: a store does not exist or has no places, or the port is taken.
    """
    urls = list(dict.fromkeys(url for path in stores for url in stores_in(path)))
    if not urls:
        raise UserError("STORE...", found="no store", expected="one or several", do="Name a scene or a prediction.")
    shown = Stores(urls, options.cache)
    pyramids = [shown[index].pyramid for index in range(len(urls))]
    plan: dict[str, Any] = {
        "stores": urls,
        "levels": [pyramid.levels for pyramid in pyramids],
        "pyramid_bytes": sum(p.bytes for p in pyramids if not p.complete(p.levels)),
    }
    drawing = None if options.draw is None else Drawing.of(options.draw)
    if drawing is not None:
        plan["draw"] = drawing.out
    if options.dry_run:
        return plan | {"dry_run": True}
    with _listening(options.port) as listener:
        page = application(shown, drawing=drawing)
        url = f"http://{HOST}:{listener.getsockname()[1]}/?token={page.token}"
        _serve(page, listener, shown, lambda: _announce({"url": url, **plan}, options, progress))
    return {"url": url, **plan}


def _listening(port: int) -> socket.socket:
    """Return a socket of this machine that listens.

    Raises:
        UserError: the port is taken.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(
            "--port", found=f"{port}: {error.strerror}", expected="a free port", do="Give another one, or 0."
        ) from error


def _announce(result: dict[str, Any], options: ViewOptions, progress: Progress) -> None:
    """Say where the page is."""
    if options.ready is not None:
        options.ready(result)
    else:
        progress.say(result["url"])
    progress.say("view: open the address in a browser; Ctrl-C ends")
    if options.browser:
        webbrowser.open(result["url"])


def _serve(page: Any, listener: socket.socket, stores: Stores, announce: Any) -> None:
    """Serve a page until a signal comes."""
    config = uvicorn.Config(page, log_config=None, access_log=False, lifespan="off", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="tilespec-view")
    with catch_signals(LocalFlag()) as stopping:
        thread.start()
        stores.start()
        announce()
        while thread.is_alive() and not stopping():
            time.sleep(0.1)
    server.should_exit = True
    stores.stop()
    thread.join(5.0)
