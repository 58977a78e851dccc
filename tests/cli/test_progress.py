import io
import re
import sys

import pytest

from src.cli import progress
from src.cli.progress import Clock, listening, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Heard:
    """What a listener was told."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, int, int]] = []

    def advanced(self, clock: Clock, elapsed: float) -> None:
        self.counts.append((clock.what, clock.done, clock.total))

    def measured(self, accuracy: float, notes: int) -> None:
        raise AssertionError


def test_a_log_has_a_line_when_one_is_due_and_asks_for_its_note_then_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    early: list[str] = []
    clock = Clock(total=4, what="nano two", unit="step")
    clock.step(lambda: early.append("note") or "loss 9")  # type: ignore[func-returns-value]
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    clock.step(lambda: "loss 2.310")
    assert not early
    assert capsys.readouterr().err == "nano two: 2 of 4, 0:00 gone, 0:00 left, loss 2.310\n"


def test_bytes_of_a_file_are_counted_in_per_cent_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Clock(total=3000, what="reading notes.csv", unit="B") as clock:
        clock.reach(1500)
    assert capsys.readouterr().err == "reading notes.csv: 50 of 100, 0:00 gone, 0:00 left\n"


def test_a_terminal_has_a_bar_from_the_start_and_its_note_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_NOTES", 0.0)
    with Clock(total=2, what="nano two", unit="step") as clock:
        assert "nano two:   0%" in sys.stderr.getvalue()  # type: ignore[attr-defined]
        clock.step(lambda: "loss 3.100")
        clock.step(lambda: "loss 2.310")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"nano two: 100%.* 2/2 .*loss 2\.310", shown)
    assert shown.endswith("\n")
    assert not re.search(r"\d of \d", shown)


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_whoever_listens_hears_of_every_count_on_a_terminal_or_not(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    heard = Heard()
    with listening(heard):
        assert list(track("ab", total=2, what="letters", unit="letter")) == ["a", "b"]
        Clock(total=2, what="another rank", unit="step", quiet=True).step()
    assert heard.counts == [("letters", 1, 2), ("letters", 2, 2)]
