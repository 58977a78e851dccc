from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.service.access import Access, Expose, read_tokens

LONG = "a-token-of-letters"


def test_tokens_are_read_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# who may\nAnn Ames: {LONG}\n\nbo@ward-3:{LONG[::-1]}\n")
    path.chmod(0o600)
    assert read_tokens(path) == {"Ann Ames": LONG, "bo@ward-3": LONG[::-1]}


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        (f"ann: {LONG}", 0o644, "others may read it; run chmod 600"),
        ("ann: short", 0o600, "row 1: must be NAME: TOKEN, the token of 16 or more ASCII letters"),
        (f"ann {LONG}", 0o600, "row 1: must be NAME: TOKEN"),
        (f"ann: {LONG}\nbo: {LONG}", 0o600, "row 2: its name or its token comes twice"),
        ("# nobody\n", 0o600, "names nobody; write lines of NAME: TOKEN"),
    ],
)
def test_a_wrong_token_file_is_named_with_its_row(text: str, mode: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(UserError, match=message):
        read_tokens(path)


def test_a_cookie_is_good_until_the_token_changes_and_cannot_be_made_up() -> None:
    access = Access(Expose.PROXY, {"ann": LONG}, b"key")
    cookie = access.cookie("ann")
    assert access.coder_of(cookie) == "ann"
    assert Access(Expose.PROXY, {"ann": LONG}, b"key").coder_of(cookie) == "ann"
    assert Access(Expose.PROXY, {"ann": LONG + "2"}, b"key").coder_of(cookie) is None
    assert Access(Expose.PROXY, {"bo": LONG}, b"key").coder_of(cookie) is None
    assert Access(Expose.PROXY, {"ann": LONG}, b"another").coder_of(cookie) is None
    assert [access.coder_of(made_up) for made_up in ("", "ann", "YW5u.", cookie[:-1] + "ü", "\xff.a")] == [None] * 5


def test_a_form_is_of_one_coder_case_and_page() -> None:
    access = Access(Expose.LOOPBACK, {}, b"key")
    form = access.new_form("ann", "c1", "shown")
    assert access.is_form(form, "ann", "c1", "shown")
    assert not access.is_form(form, "bo", "c1", "shown")
    assert not access.is_form(form, "ann", "c1s", "hown")
    assert not access.is_form("", "ann", "c1", "shown")
    assert access.new_form("ann", "c1", "shown") != form


def test_only_own_pages_send_forms() -> None:
    access = Access(Expose.LOOPBACK, {}, b"")
    host = {"host": "127.0.0.1:8000"}
    assert access.is_own_page({**host, "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"})
    assert not access.is_own_page({**host, "origin": "http://127.0.0.1:9000"})
    assert not access.is_own_page({**host, "origin": "null"})
    assert not access.is_own_page({**host, "sec-fetch-site": "cross-site"})
