"""Runs a module on a simulated accelerator: `python -m tests.simulated.program LIBRARIES REPORT MODULE WORD ...`.

`device=auto` is `sim:1` then, the second of two, as a process's own device may be. The report says where modules
computed, with gradients and without, and how often the host had waited at each optimiser step.
SIMULATED_STOP=N sends SIGTERM to the program at its N-th optimiser step.
"""

import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def main(library: str, report: str, module: str, *words: str) -> None:
    """Installs the device, takes notes, and runs the module."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from src.models import devices
    from tests.simulated.device import KIND, build, install

    extension = build(Path(library))
    install(extension)
    devices.best_kind = lambda: KIND
    devices.own = lambda device, local_rank=0: device if devices.is_cpu(device) or ":" in device else f"{device}:1"
    forwards: dict[str, set[str]] = {"gradients": set(), "none": set()}
    waits: list[int] = []
    stop = int(os.environ.get("SIMULATED_STOP", "0"))

    def ran(layer: Any, args: Any, result: Any) -> None:
        if isinstance(result, torch.Tensor):
            forwards["gradients" if torch.is_grad_enabled() else "none"].add(str(result.device))

    def stepped(*args: Any) -> None:
        waits.append(extension.waits())
        if len(waits) == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    torch.nn.modules.module.register_module_forward_hook(ran)
    register_optimizer_step_post_hook(stepped)
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        devices_of = {key: sorted(names) for key, names in forwards.items()}
        peak = [extension.peak(0), extension.peak(1)]
        summary = {"forwards": devices_of, "waits": waits, "peak": peak, "operators": extension.operators()}
        Path(report).write_text(json.dumps(summary))


if __name__ == "__main__":
    main(*sys.argv[1:])
