"""The suite "auto": whether --precision auto makes the same choice each time."""

import torch

from genae_core.data.image_folder import ImageFolderConfig
from genae_core.experiment.least_seconds import choose_plainest
from genae_core.experiment.step_timing import time_choices, timing_images
from genae_core.models.vae import VAEConfig
from genae_core.nets.dcgan import DCGANConfig

from .busy import busy_process
from .cases import CASES, Case, experiment_of, images_of, vae_step
from .rows import Row

LAUNCHES = 2  # of each model in a repeat, both alone and beside a busy process
SMALL = ImageFolderConfig(root="generated", size=32)
MODELS = {
    "mlp": CASES["mlp"],
    "dcgan": Case(VAEConfig(latent_dim=32, net=DCGANConfig(width=16)), SMALL, 64, 3, vae_step),
}


def rows(repeats: int, device: str) -> list[Row]:
    """Measure auto_stability, the share of measurements that choose the right way. This is the way
    that the least times of all measurements of the model choose."""
    right = dict.fromkeys((False, True), 0)
    for case in MODELS.values():
        timed = []  # whether a process was busy, and the seconds of each way
        for number in range(2 * LAUNCHES * repeats):
            with busy_process(number % 2 == 1):
                timed.append((number % 2 == 1, seconds_of(case, device)))
        least = [min(way) for way in zip(*(seconds for _, seconds in timed), strict=True)]
        for busy, seconds in timed:
            right[busy] += choose_plainest(seconds) == choose_plainest(least)
    each = LAUNCHES * repeats * len(MODELS)
    share = sum(right.values()) / (2 * each)
    return [
        Row(
            name="auto_stability",
            value=share,
            unit=f"of the measurements chose the right way: {right[False]} of {each} alone, "
            f"{right[True]} of {each} beside a busy process",
            baseline="all",
            baseline_value=1.0,
            ratio=share,
        )
    ]


def seconds_of(case: Case, device: str) -> list[float]:
    """The seconds of each way to compute, as a launch of a sweep measures them."""
    experiment, threads = experiment_of(case), torch.get_num_threads()
    images = timing_images(experiment, images_of(case))
    timings = time_choices(experiment, images, "auto", device == "cuda", threads)
    return [timing.seconds for timing in timings]
