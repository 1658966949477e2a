"""Who gets in: browsers of this machine that hold the token, and no page of another site.

The server listens on the loopback interface, where every user of the machine can reach it. So each request must bring a token
that was made for this start: once in the address, from then on in a cookie that scripts cannot read. The Host header must name
this machine, so that a site whose name resolves to 127.0.0.1 is not taken for it (DNS rebinding). What changes something must
come from a page of the server itself.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # noqa: S105 - the parameter's name
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
_SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Frame-Options": "DENY",
}
_WITHOUT = "Open the address that was printed when this server was started: it holds the token.\n"


class Entrance:
    """An ASGI application that lets requests with the token through to another one.

    Parameters
    ----------
    app
        The application behind it.
    token
        The token.
    port
        The server's port, which is in the cookie's name: cookies of one machine are shared by all ports.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"surveyflow-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope) -> Response | None:
        """The answer to a request that does not get through, or that brings its token; None for all others."""
        headers = Headers(scope=scope)
        if not _HOST.fullmatch(headers.get("host", "")):
            return PlainTextResponse("This server answers to 127.0.0.1 and localhost only.\n", 400)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if TOKEN in query:
            return self._welcome(scope, query) if self._is_token(query.pop(TOKEN)[0]) else PlainTextResponse(_WITHOUT, 403)
        if not self._is_token(self._cookie_of(headers)):
            return PlainTextResponse(_WITHOUT, 403)
        if scope["method"] not in _SAFE_METHODS and not _from_own_page(headers):
            return PlainTextResponse("Only pages of this server may send answers.\n", 403)
        return None

    def _welcome(self, scope: Scope, query: dict[str, list[str]]) -> Response:
        """Move the token from the address to a cookie."""
        rest = urlencode(query, doseq=True)
        path = "/" + scope["path"].lstrip("/\\")
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
        return response

    def _cookie_of(self, headers: Headers) -> str:
        """The cookie, whatever the cookies of other servers of this machine hold, which the browser sends along."""
        return cookie_parser(headers.get("cookie", "")).get(self._cookie, "")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _from_own_page(headers: Headers) -> bool:
    return headers.get("origin", "") == f"http://{headers['host']}"


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return wrapped
