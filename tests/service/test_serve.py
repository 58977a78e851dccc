import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from src.service.action_log import ActionLog, LoggedAction
from tests.conftest import ROOT

CODE = """
import sys
from src.serve import main
try:
    main()
finally:
    print("wandb" in sys.modules, flush=True)
"""


@pytest.mark.slow
def test_the_command_serves_programs_and_the_desk_without_wandb(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("id,text\nc1,Brief hospital course: fever\nc2,nothing\n")
    words = [f"run={runs['two']}", "port=0", "device=cpu", f"notes={tmp_path / 'n.csv'}", f"log={tmp_path / 'log'}"]
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        port = int(line.split("/v1")[0].rsplit(":", 1)[1])
        assert line == f"serving on http://127.0.0.1:{port}/v1, the desk on http://127.0.0.1:{port}/desk\n"
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/v1/predict", json.dumps({"text": "a"}), {"content-type": "application/json"})
        assert json.load(connection.getresponse())["predictions"][0]["decision"] == "defer"
        connection.request("POST", "/desk/login", "name=Ann")
        answer = connection.getresponse()
        answer.read()
        page = "not read yet"
        while "not read yet" in page:
            connection.request("GET", "/desk", headers={"cookie": answer.headers["set-cookie"].split(";")[0]})
            page = connection.getresponse().read().decode()
        assert page.index("case?id=c2") < page.index("case?id=c1")
        connection.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "False\n", "stopped\n")


def test_the_log_is_exported_by_the_command(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with closing(ActionLog(tmp_path / "log")) as log:
        log.add(
            "form", LoggedAction("t", "ann", "c1", "alone", "1", "291", "292", "decide", "", 2.0, "{}", "m", "c"), None
        )
    command("src.serve", f"log={tmp_path / 'log'}", f"export={tmp_path / 'a.csv'}")
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert (row["coder"], row["decided"], row["seconds"]) == ("ann", "292", "2.0")
    (tmp_path / "log").write_bytes(b"no log" * 500)
    done = command("src.serve", f"log={tmp_path / 'log'}", f"export={tmp_path / 'b.csv'}", ok=False)
    assert "damaged, or no SQLite file" in done.stderr
    assert not (tmp_path / "b.csv").exists()


def test_every_problem_of_the_command_is_told_at_once(
    command: Callable[..., subprocess.CompletedProcess[str]], runs: dict[str, Path], tmp_path: Path
) -> None:
    words = ["queue_notes=3", "port=70000", "study=nowhere", "expose=tls", "host=name"]
    said = command("src.serve", *words, ok=False).stderr
    for expected in (
        "run=None: no result.json there",
        "queue_notes=3: must be at least twice request_notes=64",
        "port=70000: must be 0 to 65535",
        "study=nowhere: no such file",
        "study: needs the notes of its cases; give notes=",
        "host=name: must be an address, as 127.0.0.1 or 0.0.0.0",
    ):
        assert expected in said
    run = f"run={runs['two']}"
    assert "not loopback; give expose=tls or expose=proxy" in command("src.serve", run, "host=0.0.0.0", ok=False).stderr
    said = command("src.serve", run, "host=0.0.0.0", "expose=tls", ok=False).stderr
    assert "expose=tls: needs tokens=FILE with lines of NAME: TOKEN" in said
    assert "expose=tls: needs certificate=FILE and key=FILE" in said
    (tmp_path / "tokens").write_text("ann: a-token-of-letters\n")
    (tmp_path / "tokens").chmod(0o600)
    files = [f"{name}={tmp_path / 'tokens'}" for name in ("tokens", "certificate", "key")]
    said = command("src.serve", run, "expose=tls", *files, ok=False).stderr
    assert "cannot be used (SSLError)" in said
