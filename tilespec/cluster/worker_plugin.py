"""Worker plugins: what is set in each worker process."""

from typing import Any, final

from distributed import WorkerPlugin

from tilespec.core.memory import one_heap
from tilespec.core.registry import name_modules, named_modules
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


@final
class UserModules(WorkerPlugin):
    """Let workers that somebody else started load the modules that the user of the client named, for nets and steps.

    This gives away nothing: workers run whatever their client sends.
    """

    name = "tilespec-user-modules"

    def __init__(self) -> None:
        self.modules = named_modules()

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - the interface of plugins
        """Name the modules; the ranks that the worker starts know them too."""
        name_modules(self.modules)
