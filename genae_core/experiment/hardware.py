"""The hardware that torch computes on, in words."""

import hashlib
import platform
from pathlib import Path

import torch

from genae_core.config.machine import usable_cpus
from genae_core.config.thread_waiting import threads_sleep
from genae_core.experiment.precision import has_bf16


def describe_devices() -> list[str]:
    """A line for the CPU and for each GPU: its name, its memory and its lower precision."""
    waiting = " that sleep while they wait" if threads_sleep() else ""
    lines = [f"CPU, {torch.get_num_threads()} threads{waiting}, {_precision('cpu')}"]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            memory = about.total_memory / 2**30
            lines.append(f"{about.name}, {memory:.1f} GiB, {_precision(f'cuda:{number}')}")
    else:
        built_for = torch.version.cuda
        why = f"built for CUDA {built_for}" if built_for else "built for the CPU alone"
        lines.append(f"no GPU that torch sees (torch is {why})")
    return lines


def _precision(device: str) -> str:
    return f"computes in fp32{' and bf16' if has_bf16(device) else ', has no bf16'}"


def identify_hardware(gpu: bool) -> dict[str, str | int]:
    """What decides how fast this process computes, except for what else the machine does.

    Args:
        gpu: Whether it computes on its GPU.

    Returns:
        The CPU's model, a digest of its flags (its instructions), the number of CPUs, and the
        GPU's name if it is used.
    """
    about = _read_cpuinfo()
    flags = " ".join(sorted((about.get("flags") or about.get("Features") or "").split()))
    return {
        "cpu": about.get("model name") or platform.processor() or platform.machine(),
        "cpu_flags": hashlib.sha256(flags.encode()).hexdigest()[:16],
        "cpus": usable_cpus(),
        "gpu": torch.cuda.get_device_name() if gpu else "",
    }


def _read_cpuinfo() -> dict[str, str]:
    """What Linux says about the first CPU, by name; empty on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
