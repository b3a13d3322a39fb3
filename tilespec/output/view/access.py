"""Access: who may ask the server of the viewer, and what a browser may do with its answers.

Every address needs the token, a random text that only the user's terminal shows: in the address, or in the cookie that
the page sets, which no script can read and no other site can send. The name of the host is checked too, so that a page
elsewhere whose name resolves to this machine is refused.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final, final
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = {"127.0.0.1", "localhost", "[::1]"}
"""The names of this machine by which the page may be asked for, with any port: a tunnel may have another one."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer tells the browser: load from this server alone, show in no frame, tell no other site."""


@final
@dataclass(frozen=True, kw_only=True)
class Access:
    """The check before every request, as an ASGI application around another one."""

    app: ASGIApp
    """The application that answers when the request is allowed."""
    writable: frozenset[str] = frozenset()
    """The paths to which the page itself may post."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """The text that every request must know."""

    @property
    def cookie(self) -> str:
        """The name of the cookie, which differs between servers: cookies do not know ports."""
        return f"tilespec-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(HEADERS)
                if refusal is None and self._known(_tokens(scope)):
                    answer.append("Set-Cookie", f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        await (refusal or self.app)(scope, receive, sent)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> PlainTextResponse | None:
        """Return the answer to a request that is not allowed."""
        if headers.get("host", "").rpartition(":")[0] not in HOSTS and headers.get("host") not in HOSTS:
            return PlainTextResponse("This server answers to names of its own machine alone.\n", 403)
        if not self._known([*_tokens(scope), *self._cookies(headers)]):
            return PlainTextResponse("Open the whole address that `tilespec view` printed, with its token.\n", 401)
        if scope["method"] == "POST" and scope["path"] in self.writable:
            own = headers.get("origin", "null") == f"http://{headers.get('host')}"
            json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
            return None if own and json else PlainTextResponse("Only the page itself may draw.\n", 403)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("This server changes nothing.\n", 405)
        return None

    def _known(self, texts: list[str]) -> bool:
        """Return whether one of the texts is the token, in a time that does not depend on them."""
        return any(secrets.compare_digest(text.encode(), self.token.encode()) for text in texts)

    def _cookies(self, headers: dict[str, str]) -> list[str]:
        """Return the value of the cookie in a list, empty without one."""
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return []
        return [cookies[self.cookie].value] if self.cookie in cookies else []


def _tokens(scope: Scope) -> list[str]:
    """Return the tokens in the query of an address."""
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
