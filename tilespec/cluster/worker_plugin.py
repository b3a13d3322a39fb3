"""Worker plugin: the settings of each worker process."""

import signal
from typing import Any, final

from distributed import WorkerPlugin

from tilespec.core.memory import one_heap


@final
class Settings(WorkerPlugin):
    """Let workers ignore Ctrl-C, which a terminal sends to all processes at once, and let their threads share one heap.

    The command that started them catches Ctrl-C, lets tasks in flight finish, and ends the workers itself.
    """

    name = "tilespec-settings"

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - the interface of plugins
        """Apply both settings; the worker's event loop runs in its main thread, where signal handlers are set."""
        one_heap()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
