"""Worker plugin: the settings of each worker process."""

from typing import Any, final

from distributed import WorkerPlugin

from tilespec.core.memory import one_heap
from tilespec.core.signals import ignore_terminal


@final
class Settings(WorkerPlugin):
    """Let workers ignore Ctrl-C, which a terminal sends to all processes at once, and let their threads share one heap.

    The command that started them catches Ctrl-C, lets tasks in flight finish, and ends the workers itself.
    """

    name = "tilespec-settings"

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - the interface of plugins
        """Apply both settings; the worker's event loop runs in its main thread, where signal handlers are set."""
        one_heap()
        ignore_terminal()
