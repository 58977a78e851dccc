"""Opens the service's port, and makes the server that answers there."""

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from src.cli.errors import UserError
from src.service.request_limits import RequestLimits

CONNECTIONS = 1_000
"""More at once are answered with 503."""


def punctual(seconds: float) -> type[H11Protocol]:
    """Makes uvicorn's protocol, but that closes connections on which a request does not begin, or end its headers."""

    class Punctual(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.loop.call_later(seconds, self._watch, None)

        def _watch(self, before: Any) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if before is self.cycle and idle:
                self.transport.close()
            if not self.transport.is_closing():
                self.loop.call_later(seconds, self._watch, self.cycle)

    return Punctual


def listen(host: str, port: int) -> socket.socket:
    """Opens the port.

    Raises:
        UserError: it is taken, or may not be opened.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"host={host} port={port}: {error.strerror}; name another port") from None


def server_of(app: RequestLimits, certificate: str | None = None, key: str | None = None) -> uvicorn.Server:
    """Makes what serves until a signal comes; requests in hand then have five seconds to end.

    Raises:
        UserError: the certificate or its key cannot be used.
    """
    try:
        config = uvicorn.Config(
            app,
            http=punctual(app.seconds),
            ws="none",
            lifespan="off",
            # Addresses hold encounters' ids.
            access_log=False,
            log_level="warning",
            server_header=False,
            # A client could name itself another in them.
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=5,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
    except OSError as error:
        raise UserError(f"certificate={certificate} key={key}: cannot be used ({type(error).__name__})") from None
    return uvicorn.Server(config)
