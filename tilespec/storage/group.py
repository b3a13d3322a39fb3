"""Group: the root of a store, opened for reading; incomplete and damaged stores are refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import zarr

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.storage.array_metadata import FreshMetadata, open_local
from tilespec.storage.backends.paths import store_path
from tilespec.storage.inventory import CheckedStore, inventory
from tilespec.storage.layout import COMPLETE, WRITING


def open_group(url: str) -> zarr.Group:
    """Open the Zarr group at ``url`` for reading; its objects are compared with the `inventory` as they are read.

    Raises:
        UserError: there is no store, or its metadata are damaged or were changed after it was written.
    """
    place = store_path(url)
    if not (place / "zarr.json").exists():
        raise UserError(
            url,
            found="nothing" if not place.exists() else "something that is no Zarr v3 store",
            expected="a Zarr v3 store that tilespec or xarray wrote",
            do="Check the path; bring other formats in with `tilespec ingest SRC OUT`.",
        )
    place = place.absolute()  # what is open stays open in another folder, and for workers elsewhere
    known = inventory(str(place))
    try:
        if place.on_disk is not None:
            return open_local(CheckedStore(FreshMetadata(place.on_disk), known))
        # where each key costs a round trip, the root's copy of the arrays' metadata serves
        return zarr.open_group(CheckedStore(place.zarr_store(), known), mode="r", zarr_format=3)
    except UserError:  # of the object store
        raise
    except Exception as error:
        raise UserError(
            url,
            found=f"damaged metadata, or no group ({error})",
            expected="a Zarr v3 group",
            do="Write the store again: remove it and its .tilespec folder, and run its command.",
        ) from error


def check_complete(url: str, attrs: Mapping[str, Any], *, partial: bool = False) -> None:
    """Refuse a store that is not complete, according to its root's attributes.

    With ``partial`` only one that is still being written: an incomplete one has ended, and what failed is nodata.
    """
    status = attrs.get("tilespec_status", COMPLETE)
    if status == WRITING or (status != COMPLETE and not partial):
        raise UserError(
            url,
            found=f"status {status!r}",
            expected=f"status {COMPLETE!r}",
            do="The run that writes it has not finished: run the same command again, it resumes.",
        )


@contextmanager
def name_damage(url: str, roi: Roi) -> Iterator[None]:
    """Name the store and the region in the error when an object does not match its checksum."""
    try:
        yield
    except UserError:  # of an object store
        raise
    except (ValueError, RuntimeError) as error:
        raise UserError(
            url,
            found=f"a damaged object in {roi} ({error})",
            expected="objects whose checksums hold",
            do="Write the store again from its source, or restore it from a copy.",
        ) from error
