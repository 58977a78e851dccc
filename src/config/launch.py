"""Configures where the cells of a sweep run: the values of `hydra.launcher`, by the launcher's name."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Kind(StrEnum):
    """Names who starts the processes."""

    PROCESSES = "processes"
    SLURM = "slurm"
    RAY = "ray"


@dataclass
class ProcessesConfig:
    """Processes on this machine, one a GPU or as many as `workers` says."""

    kind: Kind
    gpu: str | None
    """The GPU that a dry run takes the cells to run on; null is the device of this machine."""
    retries: int
    """How often a cell whose process was killed is started again."""
    workers: int | None
    """Cells at a time; null is as many as the GPUs serve, or one."""
    gpus_per_cell: int
    """GPUs that each cell sees, where there are any."""

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        problems = _retries(self.retries)
        if self.workers is not None and self.workers < 1:
            problems.append(f"hydra.launcher.workers={self.workers}: must be at least 1 or null")
        if self.gpus_per_cell < 1:
            problems.append(f"hydra.launcher.gpus_per_cell={self.gpus_per_cell}: must be at least 1")
        return problems


@dataclass
class SlurmConfig:
    """Slurm job arrays; the keys are those of hydra-submitit-launcher, with a few of our own."""

    kind: Kind
    gpu: str | None
    """The GPU that a dry run takes the cells to run on; null is the device of this machine."""
    retries: int
    """How often a cell whose job died is submitted again."""
    wait: bool
    """Stay until every cell has ended, and submit again what died; false leaves after submission."""
    poll_s: float
    """Seconds between two looks at the queue."""
    timeout_min: int
    """Slurm's time limit."""
    signal_delay_s: int
    """Seconds before the limit at which a cell saves a checkpoint and goes back into the queue."""
    cpus_per_task: int | None
    gpus_per_node: int | None
    tasks_per_node: int
    mem_gb: float | None
    nodes: int
    name: str
    """Job name; a mark of the batch is added."""
    stderr_to_stdout: bool
    partition: str | None
    qos: str | None
    comment: str | None
    constraint: str | None
    exclude: str | None
    gres: str | None
    cpus_per_gpu: int | None
    gpus_per_task: int | None
    mem_per_gpu: str | None
    mem_per_cpu: str | None
    account: str | None
    array_parallelism: int
    """Cells of an array at a time."""
    setup: list[str]
    """Shell lines before the cell: modules, a container, an environment."""
    additional_parameters: dict[str, Any]
    """Further options of sbatch, by name."""

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        problems = _retries(self.retries)
        if not 0 < self.signal_delay_s < 60 * self.timeout_min:
            problems.append(
                f"hydra.launcher.signal_delay_s={self.signal_delay_s}: must be above 0 and below "
                f"60 * hydra.launcher.timeout_min={self.timeout_min}, or the signal comes at once"
            )
        if self.poll_s <= 0:
            problems.append(f"hydra.launcher.poll_s={self.poll_s}: must be above 0")
        return problems


@dataclass
class RayConfig:
    """Tasks of a Ray cluster."""

    kind: Kind
    gpu: str | None
    """The GPU that a dry run takes the cells to run on; null is the device of this machine."""
    retries: int
    """How often a cell whose worker or node died is started again."""
    address: str | None
    """The cluster, as `auto` or HOST:PORT; null starts one on this machine."""
    num_cpus: float
    """CPUs a cell."""
    num_gpus: float
    """GPUs a cell; 0.5 puts two on one."""

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        problems = _retries(self.retries)
        problems += [
            f"hydra.launcher.{key}={value}: must not be below 0"
            for key, value in (("num_cpus", self.num_cpus), ("num_gpus", self.num_gpus))
            if value < 0
        ]
        return problems


def _retries(retries: int) -> list[str]:
    return [f"hydra.launcher.retries={retries}: must not be below 0"] if retries < 0 else []


class LauncherConfig(Protocol):
    """The values of a launcher; a `wait` among them says whether it stays until all jobs have ended."""

    retries: int

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""


SCHEMAS: dict[str, type[LauncherConfig]] = {
    Kind.PROCESSES: ProcessesConfig,
    Kind.SLURM: SlurmConfig,
    Kind.RAY: RayConfig,
}
"""The schema of each kind."""
