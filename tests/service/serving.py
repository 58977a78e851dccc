"""A service on a port of this machine, in a thread of the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from src.service.http_server import listen, server_of
from src.service.request_limits import LOOPBACK, RequestLimits


@contextmanager
def serving(app: Any, most_bytes: int = 100_000, seconds: float = 20.0) -> Iterator[int]:
    """Yields the port."""
    server = server_of(RequestLimits(app, most_bytes, seconds, LOOPBACK))
    with listen("127.0.0.1", 0) as opened:
        thread = Thread(target=lambda: server.run(sockets=[opened]))
        thread.start()
        try:
            yield int(opened.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()
