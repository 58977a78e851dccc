import random
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.privacy.offline_runs import journal_files, read_journal
from src.privacy.wandb_frames import read_frames
from tests.privacy.frames import framed


@pytest.fixture(scope="module")
def file(runs: dict[str, Path]) -> Path:
    (path,) = journal_files(runs["two"])
    return path


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
