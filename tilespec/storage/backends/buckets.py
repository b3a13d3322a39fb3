"""Buckets: clients from the environment, their repeated requests, and the meaning of a server's refusals.

`SERVICES` is the table of the services: S3, Google Cloud Storage, Azure Blob Storage. Endpoint and credentials come
from their standard variables alone, and are stored nowhere. Temporary failures (status 503, timeouts, bodies that end
early) are tried again after growing pauses; a permanent failure is a `UserError` at once.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, TypeVar, final
from urllib.parse import urlparse

from tilespec.core.errors import UserError

RETRIES, PATIENCE = 8, timedelta(seconds=120)
"""The largest number of repetitions of one request, and the time limit for all of them."""
TIMEOUT = timedelta(seconds=60)
"""The time limit of one request with its body."""
AGAIN = 3
"""The number of attempts of requests that the library does not repeat itself: lists, and conditional puts."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@final
@dataclass(frozen=True, kw_only=True)
class Service:
    """A kind of service that stores buckets, as the library `obstore` reaches it."""

    store: str
    """The name of its class in `obstore.store`."""
    prefix: str
    """The start of the names of its variables."""
    endpoints: tuple[str, ...]
    """The variables that can name a server, the first one that is set counts; empty: the service's own."""
    keys: tuple[str, ...]
    """The variables that can hold credentials; without one of them no request is sent, not even for metadata."""
    do: str
    """The advice where there are no credentials."""
    tag: str = "e_tag"
    """The part of an object's description that a conditional put compares."""
    needs: tuple[str, ...] = ()
    """Further variables, one of which must be set."""

    def endpoint(self, options: Mapping[str, str]) -> str | None:
        """Return the server that the environment names, or None for the service's own."""
        return next((options[key] for key in self.endpoints if options.get(key)), None)


SERVICES = {
    "s3": Service(
        store="S3Store",
        prefix="AWS_",
        endpoints=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        keys=(
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_SKIP_SIGNATURE",
        ),
        do="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket.",
    ),
    "gs": Service(
        store="GCSStore",
        prefix="GOOGLE_",
        endpoints=("GOOGLE_BASE_URL",),
        keys=(
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_PATH",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "GOOGLE_BEARER_TOKEN",
            "GOOGLE_SKIP_SIGNATURE",
        ),
        do="Set GOOGLE_APPLICATION_CREDENTIALS to the file of the credentials; GOOGLE_SKIP_SIGNATURE=true for a public "
        "bucket.",
        tag="version",
    ),
    "az": Service(
        store="AzureStore",
        prefix="AZURE_",
        endpoints=("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        keys=(
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_SAS_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_TOKEN",
            "AZURE_CLIENT_ID",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_SKIP_SIGNATURE",
        ),
        do="Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY; AZURE_SKIP_SIGNATURE=true for a public "
        "container.",
        needs=("AZURE_STORAGE_ACCOUNT_NAME",),
    ),
}
"""The services by the scheme of their URLs."""
RESUME = "Check the network and the variable of the endpoint, and run the same command again: it resumes."
REFUSALS = {
    "NoSuchBucket": ("no bucket of that name", "a bucket that exists", "Create it, or check URL and endpoint."),
    "RequestTimeTooSkewed": ("a clock that is minutes off", "the server's time", "Set the clock of this machine."),
    "SignatureDoesNotMatch": ("a signature that does not fit", "the key's secret", "Check AWS_SECRET_ACCESS_KEY."),
    "InvalidAccessKeyId": ("an unknown access key", "a valid key", "Check AWS_ACCESS_KEY_ID."),
    "ExpiredToken": ("credentials that have expired", "valid ones", "Fetch new ones, and run the command again."),
    "403 Forbidden": ("that access is denied (403)", "rights to read, and to write", "Check credentials and policy."),
    "401 Unauthorized": ("that access is denied (401)", "valid credentials", "Check the variables of the service."),
    "ContainerNotFound": ("no container of that name", "a container that exists", "Create it, or check the URL."),
    "AuthenticationFailed": ("a signature that does not fit", "the account's key", "Check the AZURE_* variables."),
}
"""The known refusals by words of the server's answer: found, expected, what to do."""

MISSING = ("NoSuchBucket", "ContainerNotFound")
"""The words of the server where not the object but its bucket is missing."""
GONE, CHANGED = "NoSuchKey", "412 Precondition Failed"
"""The words of the server where an object was deleted, or put again, between two attempts to read it."""

T = TypeVar("T")


def again(where: object, call: Callable[[], T]) -> T:
    """Return the result of a call; repeat it where the library does not: lists, conditional puts, some errors."""
    with translate_errors(where):
        for _ in range(AGAIN - 1):
            try:
                return call()
            except Exception as error:
                if not passes(error):
                    raise
        return call()


def passes(error: Exception) -> bool:
    """Return whether an error may be temporary and the library has not repeated the request."""
    from obstore.exceptions import GenericError

    text = str(error)
    if not isinstance(error, GenericError) or any(words in text for words in REFUSALS):
        return False
    return " retries, " not in text or CHANGED in text


@contextmanager
def translate_errors(where: object) -> Iterator[None]:
    """Raise a server's refusal as a message for the user; a missing object remains a `FileNotFoundError`."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except FileNotFoundError as error:
        if not any(words in str(error) for words in MISSING):
            raise
        raise _refused(where, str(error)) from error
    except (AlreadyExistsError, PreconditionError):
        raise
    except BaseError as error:
        if GONE in str(error):  # it was deleted while its body was fetched again
            raise FileNotFoundError(str(where)) from error
        raise _refused(where, str(error)) from error


def _refused(where: object, text: str) -> UserError:
    """Return the message for the user about a server's answer."""
    for words, (found, expected, do) in REFUSALS.items():
        if words in text:
            return UserError(where, found=found, expected=expected, do=do)
    return UserError(where, found=f"no answer ({text.splitlines()[0]})", expected="one", do=RESUME)


def client(bucket: str, prefix: str | None = None, scheme: str = "s3") -> Any:
    """Return the `obstore` client of a prefix of a bucket, with the settings of the present environment.

    Raises:
        UserError: no credentials, plain http to another machine, `obstore` is not installed, or this process was forked
            from one that used it: the fork lacks its threads, and would wait for them for ever.
    """
    if _first_user() != os.getpid():
        raise UserError(
            f"{scheme}://{bucket}",
            found="a process that was forked from one that uses an object store",
            expected="one that was spawned",
            do="Start it by `spawn` or `forkserver` (multiprocessing_context of a DataLoader).",
        )
    settings = sorted(kv for kv in os.environ.items() if kv[0].startswith(SERVICES[scheme].prefix))
    return _open_store(bucket, prefix, tuple(settings), scheme)


@cache
def _first_user() -> int:
    """Return the id of the process that used the client first; a forked process inherits this value."""
    return os.getpid()


@lru_cache(maxsize=64)
def _open_store(bucket: str, prefix: str | None, settings: tuple[tuple[str, str], ...], scheme: str) -> Any:
    """Return a client; equal settings share one client and its connections."""
    where, service, options = f"{scheme}://{bucket}", SERVICES[scheme], dict(settings)
    try:
        store = import_module("obstore.store")
    except ImportError as error:
        raise UserError(
            where,
            found="no package `obstore`",
            expected="the extra `cloud`",
            do='Run `pip install "tilespec[cloud]"`.',
        ) from error
    for names in (service.keys, service.needs):
        if names and not any(options.get(key) for key in names):
            raise UserError(
                where,
                found="no credentials" if names is service.keys else "no account",
                expected=f"one of {', '.join(names)} in the environment",
                do=service.do,
            )
    endpoint = service.endpoint(options)
    try:
        return getattr(store, service.store)(
            bucket,
            prefix=prefix,
            **OPTIONS[scheme](options, endpoint),
            client_options={"allow_http": _plain(endpoint), "timeout": TIMEOUT},
            retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
        )
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise UserError(  # the library's words may quote what it could not read
            where, found="credentials that cannot be used", expected="valid ones", do=service.do
        ) from None


def _s3_options(options: Mapping[str, str], endpoint: str | None) -> dict[str, Any]:
    """Return the endpoint and the region of an S3 client."""
    region = options.get("AWS_REGION") or options.get("AWS_DEFAULT_REGION") or "us-east-1"
    return {"region": region} | ({} if endpoint is None else {"endpoint": endpoint})


def _gs_options(_: Mapping[str, str], endpoint: str | None) -> dict[str, Any]:
    """Return the server of a client of Google Cloud Storage."""
    return {} if endpoint is None else {"base_url": endpoint}


def _az_options(_: Mapping[str, str], endpoint: str | None) -> dict[str, Any]:
    """Return the endpoint of a client of Azure."""
    return {} if endpoint is None else {"endpoint": endpoint}


OPTIONS = {"s3": _s3_options, "gs": _gs_options, "az": _az_options}
"""The arguments of a client by scheme, as functions of the variables and the endpoint."""


def _plain(endpoint: str | None) -> bool:
    """Return whether an endpoint uses plain http, which is allowed on this machine only."""
    parts = urlparse(endpoint or "")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UserError(
            endpoint,
            found="plain http to another machine",
            expected="https",
            do="Give the endpoint with https://; plain http is for 127.0.0.1 only.",
        )
    return parts.scheme == "http"
