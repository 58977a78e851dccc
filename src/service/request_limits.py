"""Takes requests in whole before they are worked on; large, slow and foreign ones are refused, no error has a note."""

import asyncio
import json
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEADERS = {
    # no-referrer would make browsers hide where a form comes from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names of this machine. A page elsewhere may have a name that leads here, and is not to read what is served."""


class Refusal(Exception):
    """A request is refused before it is worked on."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def failure(error: Exception) -> str:
    """Names an error's kind, and where it was raised; its words may be a note's."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.filename}:{last.lineno}"


@dataclass(frozen=True)
class RequestLimits:
    """Wraps the service's application."""

    app: App
    most_bytes: int
    seconds: float
    """Time for a request's body to come, and for a part of the answer to be taken."""
    hosts: frozenset[str] | None
    """What the service may be called by; None for anything."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serves one request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            async with asyncio.timeout(self.seconds):
                await send(message)

        if scope["type"] != "http":
            return
        try:
            body: bytes | None = await self._body(scope, receive)

            async def replay() -> Message:
                nonlocal body
                if body is None:
                    return await receive()
                message, body = {"type": "http.request", "body": body, "more_body": False}, None
                return message

            await self.app(scope, replay, sending)
        except Refusal as refusal:
            await _answer(sending, refusal.status, str(refusal))
        except Exception as error:
            print(failure(error), file=sys.stderr, flush=True)

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.hosts is not None and re.sub(r":\d*$", "", headers.get(b"host", "").lower()) not in self.hosts:
            raise Refusal(421, "this service is called by the names of this machine alone, as 127.0.0.1")
        large = Refusal(413, f"a request has at most {self.most_bytes:,} bytes")
        if int(headers.get(b"content-length", "0")) > self.most_bytes:
            raise large
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > self.most_bytes:
                        raise large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refusal(408, f"the request did not come within {self.seconds:g} seconds") from None


async def _answer(send: Send, status: int, detail: str) -> None:
    """Answers in the form of the API's errors, and ends the connection: what is left of a request is not read."""
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": detail}).encode()})
