"""Runs a Slurm cluster of several nodes on this machine, without systemd or cgroups, for tests and for chaos.

Everything of it lies in one folder: configuration, sockets, logs, state. Debian's packages are enough.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
KillWait=10
MinJobAge=300
InactiveLimit=0
MessageTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxArraySize=1001
MailProg=/bin/true
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
"""`cred_expire` is also how long a requeued job is held back; a preempted job has 20 s to save its work."""


def missing() -> list[str]:
    """Names the programs of Slurm that this machine lacks; Debian keeps some of them in /usr/sbin."""
    return [name for name in PROGRAMS if not shutil.which(name, path=_path())]


def install() -> bool:
    """Installs Debian's packages where apt and the right to do so are there; says whether Slurm is there now."""
    if not missing():
        return True
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (sudo and not shutil.which("sudo")):
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    words = ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    for step in (["update", "-qq"], words):
        done = subprocess.run([*sudo, "apt-get", *step], env=quiet, capture_output=True, check=False, timeout=300)
        if done.returncode and step is words:
            return False  # a failed update is no reason to stop: the lists of an image may do
    return not missing()


class SlurmHere:
    """Runs a private cluster; `environment` is what a process needs to find it."""

    def __init__(self, folder: Path, nodes: int = 2, port: int = 26800) -> None:
        self.folder, self.nodes = folder, [f"n{number + 1}" for number in range(nodes)]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        self._munge: subprocess.Popen[bytes] | None = None
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # munged refuses a socket whose folder is closed to others, and a key whose folder others may write to.
        folder.chmod(0o755)
        (folder / "munge").chmod(0o711)
        host = os.uname().nodename.split(".")[0]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=folder, host=host, user=user, port=port, nodes=nodes, first=port + 11, last=port + 10 + nodes
            )
        )

    def start(self, seconds: float = 30.0) -> None:
        """Starts every daemon and waits until all nodes are idle.

        Raises:
            RuntimeError: they did not come up in time; the logs are in the folder.
        """
        key = self.folder / "munge" / "key"
        if not key.exists():
            # Closed before it holds a byte: munged refuses a key that others can read.
            key.touch(0o600)
            key.write_bytes(os.urandom(128))
        words = {"key-file": key, "socket": self.folder / "munge.sock", "pid-file": self.folder / "munged.pid"}
        words |= {"log-file": self.folder / "munged.log", "seed-file": self.folder / "munge" / "seed"}
        self._run(["munged", *(f"--{name}={value}" for name, value in words.items()), "--num-threads=2", "--force"])
        self.start_controller(clean=True)
        for node in self.nodes:
            self.start_node(node)
        end = time.monotonic() + seconds
        while self._run(["sinfo", "-h", "-N", "-p", "batch", "-t", "idle", "-o", "%N"]).count("\n") < len(self.nodes):
            if time.monotonic() > end:
                raise RuntimeError(f"Slurm did not come up; its logs are in {self.folder}")
            time.sleep(0.2)

    def start_controller(self, clean: bool = False) -> None:
        """Starts slurmctld; with what it knew before, unless `clean`."""
        self._run(["slurmctld", *(["-c"] if clean else [])])

    def start_node(self, node: str) -> None:
        """Starts one node's daemon."""
        self._run(["slurmd", "-N", node])

    def kill_controller(self) -> None:
        """Kills slurmctld without a warning."""
        self._kill([self._pid("slurmctld")])

    def kill_node(self, node: str) -> None:
        """Cuts a node's power: kills its daemon, and every process of every job on it."""
        self._kill([self._pid(f"slurmd-{node}"), *self.job_processes(node)])

    def job_processes(self, node: str) -> list[int]:
        """Lists the processes of jobs on a node; a slurmstepd keeps its node's log open, which tells whose it is."""
        log, pids = str(self.folder / f"slurmd-{node}.log"), []
        for step in _named("slurmstepd"):
            opened = {os.path.realpath(path) for path in Path(f"/proc/{step}/fd").glob("*")} if _lives(step) else set()
            if log in opened:
                pids += [step, *_below(step)]
        return pids

    def stop(self) -> None:
        """Stops every daemon and every job, and waits until they are gone."""
        pids = [pid for node in self.nodes for pid in (self._pid(f"slurmd-{node}"), *self.job_processes(node))]
        self._kill(pids)
        self._kill([self._pid("slurmctld"), self._pid("munged")])

    def run(self, *words: str) -> str:
        """Runs a command of Slurm, and returns what it prints."""
        return self._run(list(words))

    def _pid(self, name: str) -> int | None:
        try:
            return int((self.folder / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None

    def _kill(self, pids: Sequence[int | None]) -> None:
        there = [pid for pid in pids if pid and _lives(pid)]
        for pid in there:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        end = time.monotonic() + 10
        while any(_lives(pid) for pid in there) and time.monotonic() < end:
            time.sleep(0.05)

    def _run(self, words: list[str]) -> str:
        # Without a check: commands fail while a daemon is down on purpose, and callers look at what was printed.
        done = subprocess.run(
            words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
        )
        return done.stdout


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _lives(pid: int) -> bool:
    try:
        # After the name's bracket, as a name may hold spaces; a zombie has ended, and only its parent has not asked.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _named(name: str) -> list[int]:
    pids = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and (path / "comm").read_text().strip() == name:
                pids.append(int(path.name))
        except OSError:
            continue
    return pids


def _below(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [descendant for child in children for descendant in (child, *_below(child))]
