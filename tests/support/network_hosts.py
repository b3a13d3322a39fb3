"""Network namespaces as hosts on one switch, whose wires can be cut: what the tests of several machines share.

Needs root and `ip` of iproute2; no packet leaves this machine.
"""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

NETWORK = "10.77.231"
"""The hosts of a test are ``10.77.231.1``, ``10.77.231.2`` and so on, in namespaces of their own."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host: its network namespace, and its address there."""

    name: str
    address: str
    switch: str
    """The namespace of the switch, at which its wire ends in a port of the host's own number."""

    @property
    def within(self):
        """Return what a command begins with that runs on this host."""
        return ("ip", "netns", "exec", self.name)

    @property
    def port(self):
        return f"port{self.address.rpartition('.')[2]}"

    def cut(self):
        """Cut the wire: packets are lost, and nobody is told."""
        ip("-n", self.switch, "link", "set", self.port, "down")

    def mend(self):
        """Let the wire carry packets again."""
        ip("-n", self.switch, "link", "set", self.port, "up")

    def die(self):
        """Let the host lose its power: no process says goodbye to anybody."""
        self.cut()
        for number in ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


def ip(*words):
    """Run ``ip WORDS`` and return what it prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def network(number):
    """Yield so many hosts, each with a wire to one switch; where there can be none, skip the test."""
    if not shutil.which("ip"):
        pytest.skip("no `ip` here: install iproute2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    switch = f"tilespec{os.getpid()}switch"
    names = [f"tilespec{os.getpid()}{letter}" for letter in "abcdefgh"[:number]]
    hosts = [Host(name=name, address=f"{NETWORK}.{at}", switch=switch) for at, name in enumerate(names, 1)]
    try:
        try:
            _build(switch, hosts)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        yield hosts
    finally:
        for name in (*names, switch):
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", name)


def _build(switch, hosts):
    """Make the namespaces, the switch, and a wire to each host, whose end there is called ``wire``."""
    ip("netns", "add", switch)
    ip("-n", switch, "link", "add", "switch", "type", "bridge")
    ip("-n", switch, "link", "set", "switch", "up")
    for host in hosts:
        ip("netns", "add", host.name)
        wire = ("link", "add", "wire", "netns", host.name, "type", "veth", "peer", "name", host.port, "netns", switch)
        ip(*wire)
        ip("-n", switch, "link", "set", host.port, "master", "switch")
        ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "wire")
        for link in ("wire", "lo"):
            ip("-n", host.name, "link", "set", link, "up")
        host.mend()
