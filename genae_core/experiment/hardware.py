"""The hardware that torch computes on, in words."""

import torch

from genae_core.experiment.precision import has_bf16


def describe_devices() -> list[str]:
    """A line for the CPU and for each GPU: its name, its memory and its lower precision."""
    lines = [f"CPU, {torch.get_num_threads()} threads, {_precision('cpu')}"]
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
