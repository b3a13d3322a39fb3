"""S3: a client of a bucket from the environment, its repeated requests, and the meaning of a server's refusals.

Endpoint and credentials come from the standard ``AWS_*`` variables alone, and are stored nowhere. Temporary failures
(status 503, timeouts, bodies that end early) are tried again after growing pauses; a permanent failure is a `UserError`
at once.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any, TypeVar
from urllib.parse import urlparse

from tilespec.core.errors import UserError

RETRIES, PATIENCE = 8, timedelta(seconds=120)
"""The largest number of repetitions of one request, and the time limit for all of them."""
TIMEOUT = timedelta(seconds=60)
"""The time limit of one request with its body."""
AGAIN = 3
"""The number of attempts of requests that the library does not repeat itself: lists, and conditional puts."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""The variables that can hold credentials; without one of them no request is sent, not even to a metadata service."""
RESUME = "Check the network and AWS_ENDPOINT_URL, and run the same command again: it resumes."
REFUSALS = {
    "NoSuchBucket": ("no bucket of that name", "a bucket that exists", "Create it, or check URL and endpoint."),
    "RequestTimeTooSkewed": ("a clock that is minutes off", "the server's time", "Set the clock of this machine."),
    "SignatureDoesNotMatch": ("a signature that does not fit", "the key's secret", "Check AWS_SECRET_ACCESS_KEY."),
    "InvalidAccessKeyId": ("an unknown access key", "a valid key", "Check AWS_ACCESS_KEY_ID."),
    "ExpiredToken": ("credentials that have expired", "valid ones", "Fetch new ones, and run the command again."),
    "403 Forbidden": ("that access is denied (403)", "rights to read, and to write", "Check AWS_* and the policy."),
    "401 Unauthorized": ("that access is denied (401)", "valid credentials", "Check the AWS_* variables."),
}
"""The known refusals by words of the server's answer: found, expected, what to do."""

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
        if "NoSuchBucket" not in str(error):
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


def client(bucket: str, prefix: str | None = None) -> Any:
    """Return the `obstore` client of a prefix of a bucket, with the settings of the present environment.

    Raises:
        UserError: no credentials, plain http to another machine, `obstore` is not installed, or this process was forked
            from one that used it: the fork lacks its threads, and would wait for them for ever.
    """
    if _first_user() != os.getpid():
        raise UserError(
            f"s3://{bucket}",
            found="a process that was forked from one that uses an object store",
            expected="one that was spawned",
            do="Start it by `spawn` or `forkserver` (multiprocessing_context of a DataLoader).",
        )
    return _open_store(bucket, prefix, tuple(sorted(kv for kv in os.environ.items() if kv[0].startswith("AWS_"))))


@cache
def _first_user() -> int:
    """Return the id of the process that used the client first; a forked process inherits this value."""
    return os.getpid()


@lru_cache(maxsize=64)
def _open_store(bucket: str, prefix: str | None, settings: tuple[tuple[str, str], ...]) -> Any:
    """Return a client; equal settings share one client and its connections."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise UserError(
            f"s3://{bucket}",
            found="no package `obstore`",
            expected="the extra `cloud`",
            do='Run `pip install "tilespec[cloud]"`.',
        ) from error
    options = dict(settings)
    if not any(options.get(key) for key in KEYS):
        raise UserError(
            f"s3://{bucket}",
            found="no credentials",
            expected=f"one of {', '.join(KEYS)} in the environment",
            do="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket.",
        )
    endpoint = next((options[key] for key in ENDPOINTS if options.get(key)), None)
    return S3Store(
        bucket,
        prefix=prefix,
        **({} if endpoint is None else {"endpoint": endpoint}),
        region=options.get("AWS_REGION") or options.get("AWS_DEFAULT_REGION") or "us-east-1",
        client_options={"allow_http": _plain(endpoint), "timeout": TIMEOUT},
        retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
    )


def _plain(endpoint: str | None) -> bool:
    """Return whether an endpoint uses plain http, which is allowed on this machine only."""
    parts = urlparse(endpoint or "")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise UserError(
            endpoint,
            found="plain http to another machine",
            expected="https",
            do="Give AWS_ENDPOINT_URL with https://; plain http is for 127.0.0.1 only.",
        )
    return parts.scheme == "http"
