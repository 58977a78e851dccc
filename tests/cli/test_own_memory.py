import subprocess
import sys

from tests.conftest import ROOT

CHILD = "from src.cli.own_memory import peak_memory; print(peak_memory())"
PARENT = (
    "import subprocess, sys\nfrom src.cli.own_memory import peak_memory\nheld = bytearray(b'1') * 300_000_000\n"
    f"child = subprocess.run([sys.executable, '-c', {CHILD!r}], capture_output=True, text=True, check=True)\n"
    "del held\nprint(peak_memory(), child.stdout)"
)


def test_the_largest_memory_is_of_this_process_and_not_of_the_one_that_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=ROOT, capture_output=True, text=True, check=True)
    parent, child = map(int, done.stdout.split())
    assert parent > 300_000_000, "what was let go counts"
    assert 1_000_000 < child < 150_000_000
