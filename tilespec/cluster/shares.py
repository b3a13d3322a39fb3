"""Shares: the parts of a product that this run writes: all that are missing, or what it claims beside joined runs.

Joined runs need no scheduler: each looks in the ledger for what is missing, claims it part by part, and writes it. What
a run that ended had claimed is claimed by another. The last one finds nothing missing, and publishes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from random import SystemRandom
from typing import Any, TypeVar

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.cpu import cores
from tilespec.core.errors import IncompleteError, LeaseLostError
from tilespec.core.progress import Progress, Silent
from tilespec.storage.joined import TRIES, pause
from tilespec.storage.lease import Lease
from tilespec.storage.lock import Hold
from tilespec.storage.product import Product

T = TypeVar("T")
PER_THREAD = 2
"""The rows that a joined run claims at once for each thread: while the last is written, another may have none."""


class OthersWriteError(Exception):
    """Other runs write all that is missing of a product, and this run has other products to write meanwhile."""


def in_turn(products: Sequence[T], *, join: bool) -> Iterator[tuple[T, bool]]:
    """Yield products one after another, each with whether to wait for other runs there.

    A joined run begins anywhere, leaves what others write, and comes back to it at the end.
    """
    if join:
        yield from ((each, False) for each in SystemRandom().sample(products, len(products)))
    yield from ((each, True) for each in products)


def shares(
    hold: Hold,
    missing: Callable[[], list[T]],
    lacks: Callable[[T], bool],
    name: Callable[[T], str],
    *,
    stop: Callable[[], bool] = bool,
) -> Iterator[tuple[T, Lease] | None]:
    """Yield each part that this run may write, with its lease; None when the others write all that is missing.

    After None the caller waits, or does something else, and asks again. It gives each lease back (`Hold.release`) when
    the part is recorded, or when it leaves it to others.

    Args:
        hold: What the run holds of the product.
        missing: The function that returns the parts that are not recorded.
        lacks: The function that returns whether this is still true of a part.
        name: The function that returns the name of a part, the same in every run.
        stop: The function that returns whether to stop.
    """
    if not hold.joined:
        yield from ((part, hold.lease) for part in missing())
        return
    first = int(hold.token, 16)  # runs that begin at different places seldom want the same part
    while (found := missing()) and not stop():
        hold.lease.check()
        begun = False
        for part in (found[(first + i) % len(found)] for i in range(len(found))):
            if stop():
                return
            lease = hold.claim(name(part))
            if lease is None:
                continue
            if not lacks(part):  # recorded since
                hold.release(lease)
                continue
            begun = True
            yield part, lease
        if all(hold.abandoned(name(part)) for part in found):
            return
        if not begun:
            yield None


def write_rows(  # noqa: PLR0913 - what is written, and how
    product: Product,
    of: Callable[[Product, int], "Counter[str]"],
    what: str,
    *,
    hold: Hold,
    client: Any = None,
    progress: Progress | None = None,
    one_by_one: bool = False,
) -> "Counter[str]":
    """Write the missing rows of a product, or this run's share of them; return the sum of what ``of`` returns.

    Args:
        product: The product.
        of: The function that writes one row of objects and returns counts; it must be picklable.
        what: The work as the progress calls it.
        hold: What the run holds of the product.
        client: The ``distributed.Client``; None: this process works.
        progress: The progress that counts rows, also those that others write.
        one_by_one: Whether rows are written one after another by this thread.

    Raises:
        IncompleteError: some rows ended process after process.
        OthersWriteError: there is nothing to do now, and the run would not wait.
    """
    say, total, left = progress or Silent(), Counter[str](), len(product.missing())
    say.start(what, left, "rows of objects")
    work = partial(_row, hold, product, of)
    for rows in _batches(hold, product, client, one_by_one=one_by_one):
        if rows and not one_by_one:
            total += reduce_blocks(rows, work, client=client, progress=say)
        elif rows:
            for share in rows:
                total += work(share)
                say.advance(1)
        left -= len(rows)
        for _, lease in rows:
            hold.release(lease)
        if hold.joined:
            others = left - len(product.missing())
            say.advance(max(others, 0))
            left -= max(others, 0)
        if not rows:
            wait(hold, started=bool(total))
    _check_rows(product)
    say.advance(left)
    say.finish()
    return total


def wait(hold: Hold, *, started: bool) -> None:
    """Wait a little for other runs.

    Raises:
        OthersWriteError: the run has something else to do, and has not ``started`` here.
    """
    if not (hold.patient or started):
        raise OthersWriteError
    pause()


def _check_rows(product: Product) -> None:
    """Refuse to publish a product of which rows were left alone.

    Raises:
        IncompleteError: some rows ended process after process.
    """
    missing = sorted(row for row, _ in product.unwritten())
    if missing:
        raise IncompleteError(
            f"rows of objects {missing[:5]} of {product.url} ended {TRIES} processes, and are left alone. The same "
            "command tries them again."
        )


def finish(product: Product, hold: Hold) -> str:
    """Publish a product that is whole, once among joined runs; return its digest."""
    with hold.alone("publish"):
        if hold.joined:
            product.sweep()
        return product.finish()


def _batches(hold: Hold, product: Product, client: Any, *, one_by_one: bool) -> Iterable[list[tuple[int, Lease]]]:
    """Yield rows that are written at once: all, or a few that this run has claimed; none: the others write the rest."""
    each = shares(hold, product.missing, product.lacks, "row-{:06d}".format)
    if not hold.joined:
        yield [share for share in each if share is not None]
        return
    threads = cores() if client is None else max(sum(client.nthreads().values()), 1)
    most = 1 if one_by_one else PER_THREAD * threads
    for share in each:
        more = islice(each, most - 1)
        yield [] if share is None else [share, *takewhile(lambda one: one is not None, more)]  # type: ignore[list-item]


def _row(
    hold: Hold, product: Product, of: Callable[[Product, int], "Counter[str]"], share: tuple[int, Lease]
) -> "Counter[str]":
    """Write one row; one that another run has taken over is none of ours any more."""
    row, lease = share
    try:
        return of(replace(product, lease=lease), row)
    except (LeaseLostError, OSError):
        if not hold.joined or lease.held:
            raise
        return Counter()
