"""The simulated accelerator as torch and Lightning see it: `sim:0` and `sim:1`."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

KIND, COUNT, NAME = "sim", 2, "simulated_accelerator"
MEMORY = 64 * 2**30
SOURCE = Path(__file__).with_name("accelerator.cpp")


def build(folder: Path) -> Any:
    """The compiled extension, which is kept in `folder` by its source and torch's version.

    Raises:
        RuntimeError: no compiler is there, or it refuses.
    """
    from torch.utils import cpp_extension

    mark = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    library = folder / f"simulated_{mark}.so"
    if not library.exists():
        compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
        if compiler is None:
            raise RuntimeError("no C++ compiler is there")
        folder.mkdir(parents=True, exist_ok=True)
        headers = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
        words = [
            compiler,
            "-shared",
            "-fPIC",
            "-std=c++20",
            "-O0",
            "-DAT_PER_OPERATOR_HEADERS",
            f"-DTORCH_EXTENSION_NAME={NAME}",
        ]
        words += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
        words += [word for header in headers for word in ("-isystem", header)]
        words += [f"-L{path}" for path in cpp_extension.library_paths()]
        unfinished = library.with_suffix(f".{os.getpid()}")
        words += [str(SOURCE), "-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10", "-o", str(unfinished)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{compiler}: {done.stderr[:2000]}")
        unfinished.replace(library)
    spec: Any = importlib.util.spec_from_file_location(NAME, library)
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


def install(extension: Any) -> None:
    """Makes `torch.device("sim")` known."""
    torch.utils.rename_privateuse1_backend(KIND)
    torch._register_device_module(KIND, module_of(extension))
    extension.install()
    torch.utils.generate_methods_for_privateuse1_backend()
    register_with_lightning()


def module_of(extension: Any) -> Any:
    """What `torch.cuda` is to a GPU, as far as anything asks."""
    module: Any = types.ModuleType(f"torch.{KIND}")

    def number(device: Any = None) -> int:
        index = torch.device(device).index if device is not None and not isinstance(device, int) else device
        return extension.device() if index is None else int(index)

    @contextlib.contextmanager
    def device(which: Any) -> Iterator[None]:
        before = extension.device()
        extension.set_device(number(which))
        try:
            yield
        finally:
            extension.set_device(before)

    module.device, module.current_device = device, extension.device
    module.is_available = module.is_initialized = lambda: True
    module.device_count = lambda: COUNT
    module.set_device = lambda which: extension.set_device(number(which))
    module.synchronize = lambda which=None: None
    module.empty_cache = lambda: None
    module.mem_get_info = lambda which=None: (MEMORY - extension.held(number(which)), MEMORY)
    module.max_memory_allocated = lambda which=None: extension.peak(number(which))
    module._is_in_bad_fork = lambda: False
    module._lazy_init = lambda: None
    module.manual_seed = module.manual_seed_all = lambda seed: None
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    module.get_rng_state = lambda which=None: torch.zeros(1, dtype=torch.uint8)
    module.set_rng_state = lambda *state: None
    return module


def register_with_lightning() -> None:
    """Lets `Trainer(accelerator="sim")` be understood."""
    from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry

    class Simulated(Accelerator):
        def setup_device(self, device: torch.device) -> None:
            torch.get_device_module(device).set_device(device)

        def teardown(self) -> None: ...

        def get_device_stats(self, device: Any) -> dict[str, Any]:
            return {}

        @staticmethod
        def parse_devices(devices: Any) -> Any:
            return devices

        @staticmethod
        def get_parallel_devices(devices: Any) -> list[torch.device]:
            return [torch.device(KIND, index) for index in range(int(devices))]

        @staticmethod
        def auto_device_count() -> int:
            return COUNT

        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def name() -> str:
            return KIND

    AcceleratorRegistry.register(KIND, Simulated, description="Simulated accelerator")
