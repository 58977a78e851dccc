import json
from pathlib import Path

from src.cohort.prepared import read_cohort
from src.models.labelspace import LabelSpace
from src.runs.folder import RunFolder
from src.runs.predictions import read_predictions
from src.runs.record import RunRecord, read_record, write_record
from src.training.outcome import test_intervals as intervals_of

KEYS = ["config", "axes", "cohort", "drg_version", "sample", "counts", "metrics", "intervals", "code"]
KEYS += ["versions", "device"]


def test_a_record_is_written_as_it_was_read_to_the_byte(runs: dict[str, Path], tmp_path: Path) -> None:
    for run in runs.values():
        write_record(tmp_path, read_record(run))
        assert RunFolder(tmp_path).record.read_bytes() == RunFolder(run).record.read_bytes()
        assert list(json.loads(RunFolder(run).record.read_text())) == [*KEYS, "tokens_seen", "seconds"]


def test_what_another_version_wrote_is_kept_and_what_an_earlier_one_left_out_is_empty(tmp_path: Path) -> None:
    axes = {"model": "nano", "params": 1, "max_len": 8, "seed": 0}
    own = {"config": {}, "axes": axes, "cohort": "c", "counts": {"train": 1, "test": 1}, "metrics": {"test/a": None}}
    written = {**own, "tokens_seen": 3, "seconds": {"training": 1.0, "total": 2.0}, "weather": "fine"}
    RunFolder(tmp_path).record.write_text(json.dumps(written))
    record = read_record(tmp_path)
    assert record.further == {"weather": "fine"}
    assert (record.intervals, record.code, record.versions, record.device, record.sample) == ({}, {}, {}, None, None)
    write_record(tmp_path, record)
    again = json.loads(RunFolder(tmp_path).record.read_text())
    assert {name: again[name] for name in written} == written
    assert RunRecord.of(again) == record


def test_intervals_from_memory_are_those_of_the_kept_predictions_to_the_bit(
    runs: dict[str, Path], cohort: Path
) -> None:
    from src.cohort.split import Split

    space = LabelSpace.from_labels(read_cohort(cohort).labels)
    for run in runs.values():
        kept = read_predictions(RunFolder(run).predictions(Split.TEST), space)
        assert intervals_of(kept, space) == read_record(run).intervals
