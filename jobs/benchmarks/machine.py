"""The machine on which a benchmark runs."""

import platform
from pathlib import Path

import torch

from genae_core.config import require
from genae_core.config.machine import usable_cpus, usable_memory


def require_device(device: str) -> None:
    """Raise ValueError if torch cannot compute on the device."""
    has_device = device == "cpu" or torch.cuda.is_available()
    require(has_device, "torch sees no GPU; use --device cpu", device=device)


def describe_machine(device: str) -> dict[str, str | int | None]:
    """The hardware and the software on which the figures are measured."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpus": usable_cpus(),
        "memory": usable_memory(),  # bytes
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
