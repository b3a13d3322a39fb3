"""S3: a client of a bucket as the environment says, what is tried again, and what a server's refusals mean.

Endpoint and credentials come from the standard ``AWS_*`` variables alone, and are kept nowhere. Failures that pass
(503, time-outs, bodies that end early) are tried again with growing pauses; what does not pass is a `UserError` at
once.
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
"""Tries again of one request, and the time after which there is no further one."""
TIMEOUT = timedelta(seconds=60)
"""Of one request with its body."""
AGAIN = 3
"""Tries of what the library does not try again by itself: lists, and conditional puts."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
"""Where credentials come from; without one of these nothing is asked, least of all a service of some network."""
RESUME = "Check the network and AWS_ENDPOINT_URL, and run the same command again: it resumes."
REFUSALS = {
    "NoSuchBucket": ("no bucket of that name", "a bucket that is there", "Create it, or check URL and endpoint."),
    "RequestTimeTooSkewed": ("a clock that is minutes off", "the server's time", "Set the clock of this machine."),
    "SignatureDoesNotMatch": ("a signature that does not fit", "the key's secret", "Check AWS_SECRET_ACCESS_KEY."),
    "InvalidAccessKeyId": ("an access key that nobody knows", "a valid key", "Check AWS_ACCESS_KEY_ID."),
    "ExpiredToken": ("credentials that have expired", "valid ones", "Fetch new ones, and run the command again."),
    "403 Forbidden": ("that access is denied (403)", "rights to read, and to write", "Check AWS_* and the policy."),
    "401 Unauthorized": ("that access is denied (401)", "valid credentials", "Check the AWS_* variables."),
}
"""What a server says, by the words of its answer: found, expected, what to do."""

T = TypeVar("T")


def again(where: object, call: Callable[[], T]) -> T:
    """Return what a call says, tried again where the library does not: lists, conditional puts, half an error."""
    with told(where):
        for _ in range(AGAIN - 1):
            try:
                return call()
            except Exception as error:
                if not passes(error):
                    raise
        return call()


def passes(error: Exception) -> bool:
    """Return whether an error may be gone the next time, and the library has not tried."""
    from obstore.exceptions import GenericError

    text = str(error)
    return isinstance(error, GenericError) and " retries, " not in text and not any(w in text for w in REFUSALS)


@contextmanager
def told(where: object) -> Iterator[None]:
    """Say in words what a server refused; a missing object stays a `FileNotFoundError`."""
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
        raise _refused(where, str(error)) from error


def _refused(where: object, text: str) -> UserError:
    """Return what a user is told of a server's answer."""
    for words, (found, expected, do) in REFUSALS.items():
        if words in text:
            return UserError(where, found=found, expected=expected, do=do)
    return UserError(where, found=f"no answer ({text.splitlines()[0]})", expected="one", do=RESUME)


def client(bucket: str, prefix: str | None = None) -> Any:
    """Return the `obstore` client of a prefix of a bucket, as the environment says now.

    Raises:
        UserError: no credentials, plain http to another machine, `obstore` is not there, or a process that was forked
            from one that used it: its threads are gone, and it would wait for them for ever.
    """
    if _first_user() != os.getpid():
        raise UserError(
            f"s3://{bucket}",
            found="a process that was forked from one that uses an object store",
            expected="one that was spawned",
            do="Start it by `spawn` or `forkserver` (multiprocessing_context of a DataLoader).",
        )
    return _opened(bucket, prefix, tuple(sorted(kv for kv in os.environ.items() if kv[0].startswith("AWS_"))))


@cache
def _first_user() -> int:
    """Return the process that asked first; a fork inherits the answer."""
    return os.getpid()


@lru_cache(maxsize=64)
def _opened(bucket: str, prefix: str | None, settings: tuple[tuple[str, str], ...]) -> Any:
    """Return a client; equal settings share one, with its connections."""
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise UserError(
            f"s3://{bucket}",
            found="no package `obstore`",
            expected="the extra `cloud`",
            do='Run `pip install "tilespec[cloud]"`.',
        ) from error
    given = dict(settings)
    if not any(given.get(key) for key in KEYS):
        raise UserError(
            f"s3://{bucket}",
            found="no credentials",
            expected=f"one of {', '.join(KEYS)} in the environment",
            do="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE=true for a public bucket.",
        )
    endpoint = next((given[key] for key in ENDPOINTS if given.get(key)), None)
    return S3Store(
        bucket,
        prefix=prefix,
        **({} if endpoint is None else {"endpoint": endpoint}),
        region=given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1",
        client_options={"allow_http": _plain(endpoint), "timeout": TIMEOUT},
        retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
    )


def _plain(endpoint: str | None) -> bool:
    """Return whether an endpoint is plain http, which is for this machine alone."""
    found = urlparse(endpoint or "")
    if found.scheme == "http" and found.hostname not in LOOPBACK:
        raise UserError(
            endpoint,
            found="plain http to another machine",
            expected="https",
            do="Give AWS_ENDPOINT_URL with https://; plain http is for 127.0.0.1 only.",
        )
    return found.scheme == "http"
