"""Options of `cluster init-tls`."""

from dataclasses import dataclass, field
from typing import Final, final

from tilespec.core.options import DryRun

DAYS: Final = (1, 3650)
"""The least and the greatest number of days that certificates may be valid."""


@final
@dataclass(frozen=True, kw_only=True)
class ClusterInitTlsOptions(DryRun):
    """The options of `cluster init-tls`."""

    hosts: str | None = field(default=None, metadata={"metavar": "A,B,10.0.0.1"})
    """Scheduler and workers run on these machines: names and addresses, with commas between. Without it they run on
    this machine."""
    days: int = field(default=365, metadata={"between": DAYS})
    """The certificates are valid for this many days."""
