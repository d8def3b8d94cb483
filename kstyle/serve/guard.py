"""Who may ask the server for what: checked for each request, before anything of kstyle's sees it."""

import hmac
import ipaddress
import re
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse

HEADER = "x-kstyle"  # which a page of another origin cannot send without asking first, and is refused
SECURITY = {
    # Nothing is loaded from elsewhere, and no script that stands in a page is run.
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_LOCAL = ("localhost",)


def is_loopback(host):
    """Whether a name or an address is only this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("localhost.evil.example")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in _LOCAL


class Guard:
    """An ASGI application around another. A request is refused with 403

    - without a token, unless its `Host` is this machine's own name: another name may be a foreign page's that has been
      made to lead here (DNS rebinding);
    - with a token, unless it has the cookie, or is for `/?token=…`, which sets it;
    - if a browser says that another site's page sent it, but for following a link to `/`;
    - if it may change something, and its `Origin` is not this server, or it has no header `X-Kstyle: 1`.

    Args:
        app: the other application.
        token: text; None: none is asked for, and the server is for this machine alone.
    """

    def __init__(self, app, token=None):
        self._app, self._token = app, token

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def sealed(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        app = self._let_in(scope) or self._app
        await app(scope, receive, sealed)

    def _let_in(self, scope):
        """None, or what is answered instead."""
        headers = Headers(scope=scope)
        if self._token is None and not is_loopback(_named(headers)[0]):
            return _refused("This server answers to 127.0.0.1 and localhost only.")
        first = scope["path"] == "/" and scope["method"] == "GET"
        if self._token is not None:
            if first and (given := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
                return self._welcome(headers) if self._right(given[0]) else _refused("That token is wrong.")
            if not self._right(cookie_parser(headers.get("cookie", "")).get(self._cookie(headers), "")):
                return _refused("Open the link with the token, as `kstyle serve` printed it.")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not (
            first and headers.get("sec-fetch-mode") == "navigate"
        ):
            return _refused("Another site's page asked for this.")
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and not re.fullmatch(r"https?://" + re.escape(headers.get("host", "")), origin):
                return _refused("Another site's page asked for this.")
            if headers.get(HEADER) != "1":
                return _refused("The header X-Kstyle: 1 is missing.")
        return None

    def _right(self, given):
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _cookie(self, headers):
        """Cookies are a host's, whatever the port: two servers of one machine are told apart by their names."""
        return f"kstyle-{_named(headers)[1]}"

    def _welcome(self, headers):
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie(headers), self._token, httponly=True, samesite="strict")
        return answer


def _named(headers):
    """(host, port) that a request is for, as its `Host` says; what is none has no name."""
    try:
        said = urlsplit(f"//{headers.get('host', '')}")
        return said.hostname or "", said.port or 80
    except ValueError:
        return "", 0


def _refused(line):
    # What the rest of a body might be is not read.
    return JSONResponse({"error": line}, 403, {"connection": "close"})
