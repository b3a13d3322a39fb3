"""Worker plugin: what is set in each of them."""

import signal
from typing import Any, final

from distributed import WorkerPlugin

from tilespec.core.memory import one_heap


@final
class Settings(WorkerPlugin):
    """Let workers outlive Ctrl-C, which a terminal sends to all processes at once, and give them one heap.

    The command that started them catches Ctrl-C, lets tasks in flight finish, and ends the workers itself.
    """

    name = "tilespec-settings"

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - the interface of plugins
        """Set both; the worker's event loop runs in its main thread, where signals are set."""
        one_heap()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
