import random
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.privacy.merged import write_merged
from src.privacy.offline_runs import journal_files, merged_rows, read_journal, read_journals, read_offline, tell
from src.privacy.wandb_frames import framed, read_frames
from src.runs.history import read_history
from src.runs.record import read_record
from src.tracking.flat import record_of


@pytest.fixture(scope="module")
def file(runs: dict[str, Path]) -> Path:
    (path,) = journal_files(runs["two"])
    return path


def test_an_offline_run_tells_what_its_own_record_and_history_tell(runs: dict[str, Path]) -> None:
    for scheme, run in runs.items():
        config, summary, curves = read_offline(run)
        kept, record, held = read_history(run), read_record(run), record_of(config, summary)
        assert config["labels"] == scheme
        assert held.cohort == record.cohort
        assert "test/accuracy" in held.metrics
        for part in ("metrics", "counts"):
            sent, own = getattr(held, part), getattr(record, part)
            assert sent == pytest.approx({name: own[name] for name in sent}), part
        assert set(kept) <= set(curves)
        for name, values in kept.items():
            assert curves[name] == pytest.approx(values), name


def test_the_bytes_of_a_file_follow_from_its_records(file: Path) -> None:
    frames = read_frames(file)
    assert len(frames.bodies) > 10
    assert framed(body for _, body in frames.bodies) == file.read_bytes()


def test_records_longer_than_a_block_come_back(tmp_path: Path) -> None:
    drawn = random.Random(0)
    bodies = [drawn.randbytes(drawn.choice((0, 1, 32_750, 32_754, 32_761, 70_000))) for _ in range(60)]
    (tmp_path / "x.wandb").write_bytes(framed(bodies))
    assert [body for _, body in read_frames(tmp_path / "x.wandb").bodies] == bodies


def test_a_file_cut_anywhere_is_read_up_to_its_tear(file: Path, tmp_path: Path) -> None:
    whole, data = read_frames(file).bodies, file.read_bytes()
    cut = tmp_path / "cut.wandb"
    drawn = random.Random(1)
    for length in [*range(8), len(data) - 1, *(drawn.randrange(len(data)) for _ in range(300))]:
        cut.write_bytes(data[:length])
        frames = read_frames(cut)
        ended = [
            body for (_, body), (end, _) in zip(whole, [*whole[1:], (len(data), b"")], strict=True) if end <= length
        ]
        assert [body for _, body in frames.bodies] == ended
        assert (frames.torn is None) is (length in {place for place, _ in whole})


def test_damage_is_named_with_its_place(file: Path, tmp_path: Path) -> None:
    data, (place, _) = bytearray(file.read_bytes()), read_frames(file).bodies[3]
    data[place + 9] ^= 1
    (tmp_path / "bad.wandb").write_bytes(data)
    with pytest.raises(UserError, match=f"bad.wandb: byte {place}: damaged"):
        read_journal(tmp_path / "bad.wandb")
    (tmp_path / "other.wandb").write_bytes(b"something else")
    with pytest.raises(UserError, match="byte 0: not a file of W&B"):
        read_journal(tmp_path / "other.wandb")


def test_of_what_several_starts_tell_of_a_step_the_last_counts() -> None:
    def row(step: int, **values: float) -> dict[str, float]:
        return {"trainer/global_step": step, "_step": 0, **values}

    first = [row(10, loss=3.0), row(20, loss=2.0), row(20, accuracy=0.1), row(30, loss=9.0)]
    second = [row(20, loss=2.5), row(40, loss=1.0)]
    assert merged_rows([first, second]) == [
        row(10, loss=3.0), row(20, accuracy=0.1), row(20, loss=2.5), row(30, loss=9.0), row(40, loss=1.0),
    ]  # fmt: skip


def test_one_file_written_from_a_runs_starts_tells_the_same_run(runs: dict[str, Path], tmp_path: Path) -> None:
    journals = read_journals(runs["joint"])
    told = tell(journals)
    again = tell([read_journal(write_merged(journals, told, tmp_path))])
    assert (again.config, again.summary, again.curves) == (told.config, told.summary, told.curves)
    assert (again.id, again.project, again.exit_code) == (told.id, told.project, 0)
    assert [row["_step"] for row in again.rows] == list(range(len(told.rows)))
