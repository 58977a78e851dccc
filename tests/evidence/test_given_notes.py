import json
from pathlib import Path

import pytest

from src.cli.errors import UserError
from src.evidence.given_notes import read_notes

NOTES = {"a": 'He said "well".\nHome, then.', "b": "Ünwohl."}


def test_notes_are_the_same_from_a_csv_file_json_lines_and_a_folder(tmp_path: Path) -> None:
    quoted = [f'{key},"{text.replace(chr(34), chr(34) * 2)}"' for key, text in NOTES.items()]
    (tmp_path / "notes.csv").write_text("\n".join(["id,text", *quoted]) + "\n", "utf-8-sig")
    lines = [json.dumps({"text": text, "id": key, "more": 1}) for key, text in NOTES.items()]
    (tmp_path / "notes.jsonl").write_text("\n\n".join(lines), "utf-8")
    folder = tmp_path / "notes"
    folder.mkdir()
    for key, text in NOTES.items():
        (folder / f"{key}.txt").write_text(text, "utf-8")
    for path in (tmp_path / "notes.csv", tmp_path / "notes.jsonl", folder):
        assert dict(read_notes(path).iter_rows()) == NOTES


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.csv", None, "no such file or folder"),
        ("a.csv", b"id,note\n1,x\n", "row 1 has no id or no text; give it columns id and text"),
        ("a.csv", b"id,text\n1,x\n2\n", "row 2 has no id or no text"),
        ("a.csv", b"id,text\n1,x\n2, \n", "row 2 is an empty note"),
        ("a.csv", b"id,text\n1,x\n2,y\n1,z\n", "row 1 and row 3 have one id"),
        ("a.csv", b"id,text\n", "holds no note"),
        ("a.csv", b"id,text\n1,\xff\n", "byte 10 is not UTF-8"),
        ("a.jsonl", b'{"id": 1, "text": "x"}\n{', "line 2 is no JSON"),
        ("a.jsonl", b"[1]\n", "line 1 has no id or no text"),
        ("a.xlsx", b"PK", "must end in .csv or .jsonl"),
    ],
)
def test_what_is_no_list_of_notes_is_named_with_its_row(
    name: str, content: bytes | None, expected: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"notes=.*{name}: .*{expected}") as refused:
        read_notes(tmp_path / name)
    assert "\n" not in str(refused.value)
