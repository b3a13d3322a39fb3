"""A progress that interrupts what tells it: tests of resuming need the moment, not the message."""


class StoppedError(RuntimeError):
    pass


class After:
    """Does something when so many units are done; the default is what Ctrl-C does."""

    def __init__(self, units, act=None):
        self.left, self.act = units, act or interrupt

    def say(self, text): ...

    def start(self, what, total, unit): ...

    def advance(self, units, note=""):
        self.left -= units
        if self.left <= 0:
            self.act()

    def finish(self): ...


def interrupt():
    raise KeyboardInterrupt


def stop():
    raise StoppedError
