"""Says who may use the service: names with tokens, signed cookies and forms, and requests of its own pages alone."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from src.cli.errors import UserError

NAME = re.compile(r"[\w][\w .@-]{0,39}")
SHORTEST = 16
"""Letters of a token."""


class Expose(StrEnum):
    """Says who reaches the service."""

    LOOPBACK = "loopback"
    """Programs of this machine."""
    TLS = "tls"
    """Whoever has a token, over TLS."""
    PROXY = "proxy"
    """Whoever has a token, through a proxy that speaks TLS."""


def read_tokens(path: Path) -> dict[str, str]:
    """Reads who may use the service: lines of `name: token`; `#` begins a remark.

    Raises:
        UserError: a line is of another form, a name or a token comes twice, or others may read the file.
    """
    if path.stat().st_mode & 0o077:
        raise UserError(f"tokens={path}: others may read it; run chmod 600 {path}")
    tokens: dict[str, str] = {}
    for row, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        name, _, token = (part.strip() for part in line.partition(":"))
        if not line.strip() or line.startswith("#"):
            continue
        if not NAME.fullmatch(name) or len(token) < SHORTEST or not token.isascii():
            raise UserError(
                f"tokens={path}: row {row}: must be NAME: TOKEN, the token of {SHORTEST} or more ASCII letters"
            )
        if name in tokens or token in tokens.values():
            raise UserError(f"tokens={path}: row {row}: its name or its token comes twice")
        tokens[name] = token
    if not tokens:
        raise UserError(f"tokens={path}: names nobody; write lines of NAME: TOKEN")
    return tokens


@dataclass(frozen=True)
class Access:
    """Decides whose request one is.

    Without tokens, which only a loopback service may lack, whoever asks is let in under the name they give.
    """

    expose: Expose
    tokens: Mapping[str, str]
    key: bytes
    """Signs cookies and forms; the same after a restart, so that they hold on."""

    def client(self, authorization: str | None, address: str) -> str | None:
        """Names a request's client: the holder of the token in `Authorization`, or None; its address without tokens."""
        return self._holder((authorization or "").removeprefix("Bearer ")) if self.tokens else address

    def login(self, name: str, token: str) -> str | None:
        """Returns the name under which somebody is let in, or None."""
        if self.tokens:
            return self._holder(token)
        return name.strip() if NAME.fullmatch(name.strip()) else None

    def cookie(self, coder: str) -> str:
        """Makes the cookie by which a coder is known."""
        return f"{urlsafe_b64encode(coder.encode()).decode()}.{self._sign('cookie', coder, self.tokens.get(coder, ''))}"

    def coder_of(self, cookie: str) -> str | None:
        """Says whose cookie it is; None for one that this service did not make, or of a token that changed."""
        name, _, _ = cookie.partition(".")
        try:
            coder = urlsafe_b64decode(name.encode()).decode()
        except ValueError:
            return None
        known = not self.tokens or coder in self.tokens
        return coder if known and hmac.compare_digest(self.cookie(coder).encode(), cookie.encode()) else None

    def new_form(self, *parts: str) -> str:
        """Makes the token of a form, which counts once, for one coder, case, and what was shown."""
        nonce = secrets.token_hex(8)
        return f"{nonce}.{self._sign('form', nonce, *parts)}"

    def is_form(self, form: str, *parts: str) -> bool:
        """Says whether a form's token was made for these."""
        nonce, _, signature = form.partition(".")
        return hmac.compare_digest(signature.encode(), self._sign("form", nonce, *parts).encode())

    def is_own_page(self, headers: Mapping[str, str]) -> bool:
        """Says whether a page of this service sent the request, by what browsers say of it."""
        origin = headers.get("origin")
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none") and (
            origin is None or urlsplit(origin).netloc == headers.get("host")
        )

    def _holder(self, token: str) -> str | None:
        same = [name for name, own in self.tokens.items() if hmac.compare_digest(token.encode(), own.encode())]
        return same[0] if same else None

    def _sign(self, *parts: str) -> str:
        whole = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self.key, whole.encode(), hashlib.sha256).hexdigest()[:32]
