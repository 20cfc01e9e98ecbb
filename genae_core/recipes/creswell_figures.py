"""The figures of Creswell et al. 2017 and 2016, drawn of trained models, for paper_figures.py.

Shapes: S steps, N pairs, P points of a path, C channels, H rows, W columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.evaluation.claim_measures import NOISES, denoise, psnr
from genae_core.evaluation.image_grids import grid
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import PAPER
from genae_core.recipes.figure_pages import FigurePages, FigureSizes, Subject, fcd_images
from genae_core.recipes.interpolation_pictures import (
    INTERPOLATED_STEPS,
    interpolated_images,
    path_ends,
)
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_settings import CRESWELL_DIM
from genae_core.recipes.pictures import images_of
from genae_core.recipes.study import study_experiment
from genae_core.report.formatting import decimals
from genae_core.report.print_pages import Panel, print_panels
from genae_core.samplers.means import chain_means

DENOISING = ("dvae", "daae")
SIDE = 6  # samples in a row of a panel
PAIRS = 2  # pairs of held-out images: the paper interpolates between four
DENOISED, MEASURED = 10, 1_000  # images that are drawn, and images whose PSNR is measured


def creswell_families(figures: Sequence[str], families: Sequence[str]) -> tuple[str, ...]:
    """The families that the figures show, of these.

    Raises ValueError if there is none, or if the paper does not have a family.
    """
    require(
        set(families) <= set(PAPER),
        f"the paper's families are {', '.join(PAPER)}",
        families=tuple(families),
    )
    needed = PAPER if set(figures) - {"denoising"} else DENOISING
    chosen = tuple(family for family in needed if family in families)
    require(
        len(chosen) > 0,
        f"--figures denoising needs one of {', '.join(DENOISING)}",
        families=tuple(families),
    )
    return chosen


def creswell_experiment(options: StudyOptions, family: str, sizes: FigureSizes) -> Experiment:
    """The experiment of a model that the figures show.

    Args:
        options: The study's flags.
        family: The family, one of those of the paper.
        sizes: The latent dimension, and the numbers of images and chains.
    """
    chain = dataset_recipe(options).chain(record=INTERPOLATED_STEPS)
    latent_dim = sizes.latent_dim or CRESWELL_DIM
    return sizes.apply(study_experiment(options, family, latent_dim, (chain,)))


def draw_creswell(pages: FigurePages, subjects: Sequence[Subject], figures: Sequence[str]) -> None:
    """Draw figures of the paper: samples of all models, and a page for each model of the others.

    Args:
        pages: Where the figures go.
        subjects: The models, at least one.
        figures: The names of the figures.
    """
    if "samples" in figures:
        draw_samples(pages, subjects)
    for subject in subjects:
        if "interpolations" in figures:
            draw_paths(pages, subject)
        if "denoising" in figures and subject.family in DENOISING:
            draw_denoising(pages, subject)


def draw_samples(pages: FigurePages, subjects: Sequence[Subject]) -> None:
    """Draw samples of each model after steps of the chain, in a row of panels (figures 4 and 7).

    The titles have the FCD, if the classifier can measure it.
    """
    panels = []
    for subject in subjects:
        chain = subject.experiment.chains[0]
        means = chain_means(subject.model, chain, chain.sub_batch)
        fcds = subject.run.chain.get("fcd", {})
        for step in INTERPOLATED_STEPS:
            title = f"{subject.name}, step {step}"
            if step in fcds:
                title += f": FCD {fcds[step]:.{decimals(fcds[step])}f}"
            panels.append(Panel(title, grid(means[step][: SIDE**2], SIDE)))
    text = (
        "Creswell et al. 2017, figures 4 and 7: samples of each model, whose z are drawn from the "
        "prior (step 0), and the same chains after 1, 5 and 10 steps of decoding and encoding. "
        f"The networks normalise by the batch of {chain.sub_batch} chains. {fcd_images(subjects)}"
    )
    path = pages.folder / "samples"
    files = print_panels(panels, len(INTERPOLATED_STEPS), pages.caption(text, subjects), path)
    pages.keep(subjects, files)


def draw_paths(pages: FigurePages, subject: Subject) -> None:
    """Draw spherical paths between held-out images after steps of the chain (figure 2; 5 to 8)."""
    chain = subject.experiment.chains[0]
    ends = path_ends(pages.splits.test, chain, PAIRS, subject.experiment.data.binarize)
    images = interpolated_images(subject.model, ends, chain)  # S N P C H W
    labels = [f"step {step}" for step in INTERPOLATED_STEPS]
    panels = []
    for pair in range(min(PAIRS, images.shape[1])):
        rows = between_ends(images[:, pair], ends[:, pair])
        title = f"{subject.name}, pair {pair + 1}, with the held-out images at both ends"
        panels.append(Panel(title, grid(rows.flatten(0, 1), rows.shape[1]), labels))
    text = (
        "Creswell et al. 2017, figures 2, 5, 6 and 8: spherical interpolation between the codes "
        "of two held-out images, decoded (step 0), and after 1, 5 and 10 steps of the chain from "
        "each point. The networks normalise by a batch of "
        f"{images.shape[1] * images.shape[2]} points, those of {images.shape[1]} pairs."
    )
    path = pages.folder / f"interpolations_{subject.family}"
    pages.keep([subject], print_panels(panels, 1, pages.caption(text, [subject]), path))


def between_ends(path: Tensor, ends: Tensor) -> Tensor:
    """A path [S, P, C, H, W] at S steps, with the images that it joins beside the first step.

    Args:
        path: The images of the path.
        ends: The two images, [2, C, H, W].

    Returns:
        The images in rows [S, P + 2, C, H, W]; below the two images it is white.
    """
    sides = torch.ones_like(path[:, :2])
    sides[0] = ends
    return torch.cat([sides[:, :1], path, sides[:, 1:]], 1)


def draw_denoising(pages: FigurePages, subject: Subject) -> None:
    """Draw held-out images, the same with noise, and their reconstructions (figure 3)."""
    count = min(MEASURED, len(pages.splits.test.images))
    x = images_of(pages.splits.test, np.arange(count), subject.experiment.data.binarize)
    panels = []
    for noise in NOISES:
        noisy, restored = denoise(subject.model, x, noise, Draw(0, "denoised"))
        before, after = (float(psnr(x, images).mean()) for images in (noisy, restored))
        rows = torch.cat([images[:DENOISED] for images in (x, noisy, restored)])
        title = f"noise of {noise:g}: PSNR {before:z.1f} dB, restored {after:z.1f} dB"
        labels = ("image", "with noise", "restored")
        panels.append(Panel(title, grid(rows, min(DENOISED, count)), labels))
    clean = denoise(subject.model, x, 0.0, Draw(0, "denoised")).restored
    text = (
        f"Creswell et al. 2017, figure 3, of a {subject.name}: held-out images, the same with "
        "Gaussian noise, and their reconstructions. The paper trains and shows noise of 0.5, "
        f"which is N(x, 0.25 I). PSNRs are means over {count:,} held-out images; that of "
        f"reconstructions without noise is {float(psnr(x, clean).mean()):.1f} dB."
    )
    path = pages.folder / f"denoising_{subject.family}"
    pages.keep([subject], print_panels(panels, 1, pages.caption(text, [subject]), path))
