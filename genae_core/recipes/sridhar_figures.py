"""The figures of Sridhar & Srivastava, drawn of trained models, for paper_figures.py."""

from collections.abc import Sequence

from genae_core.distributions.rng import Draw
from genae_core.evaluation.code_measures import PERPLEXITY, perplexity
from genae_core.evaluation.image_grids import grid
from genae_core.evaluation.references import as_data
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.figure_pages import FigurePages, FigureSizes, Subject, fcd_images
from genae_core.recipes.flowae_table import DRAWN, code_map
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.paper_settings import SRIDHAR_DIM
from genae_core.recipes.pictures import prior_samples
from genae_core.recipes.study import study_experiment
from genae_core.report.plots import Cloud
from genae_core.report.print_pages import (
    Curve,
    Panel,
    print_clouds,
    print_curves,
    print_panels,
)
from genae_core.samplers.ancestral import Ancestral

# The families that each figure shows.
SHOWN = {
    "samples": ("vae", "aae", "adv_ae", "flow_ae"),
    "losses": ("adv_ae", "flow_ae"),
    "tsne": tuple(family for family, _ in DRAWN),
}
SIDE = 8  # samples in a row of a panel
# What the loss of the second stage consists of, and what it is.
TERMS = {
    "adv_ae": (
        ("code_critic", "generator"),
        "Training loss for the GAN",
        "loss of critic and generator",
    ),
    "flow_ae": (("flow",), "Training loss for the flow network", "nats per code"),
}


def sridhar_families(figures: Sequence[str]) -> tuple[str, ...]:
    """The families that the figures show."""
    return tuple(dict.fromkeys(family for figure in figures for family in SHOWN[figure]))


def sridhar_experiment(options: StudyOptions, family: str, sizes: FigureSizes) -> Experiment:
    """The experiment of a model that the figures show.

    Args:
        options: The study's flags.
        family: One of `sridhar_families`.
        sizes: The latent dimension, and the numbers of images and chains.
    """
    chain = dataset_recipe(options).chain(sampler=Ancestral(), batch_norm="running", record=(0,))
    latent_dim = sizes.latent_dim or SRIDHAR_DIM
    return sizes.apply(study_experiment(options, family, latent_dim, (chain,)))


def draw_sridhar(pages: FigurePages, subjects: Sequence[Subject], figures: Sequence[str]) -> None:
    """Draw figures of the paper, one page each.

    Args:
        pages: Where the figures go.
        subjects: The models, at least one.
        figures: The names of the figures.
    """
    drawings = {"samples": draw_samples, "losses": draw_losses, "tsne": draw_code_maps}
    for figure in figures:
        shown = [subject for subject in subjects if subject.family in SHOWN[figure]]
        if shown:
            drawings[figure](pages, shown)


def draw_samples(pages: FigurePages, subjects: Sequence[Subject]) -> None:
    """Draw samples of each model, rounded if the data are binarised (figure 4)."""
    panels = []
    for subject in subjects:
        means = prior_samples(subject.model, Draw(0, "samples"), SIDE**2)
        images = as_data(means, subject.experiment.data.binarize)
        fcd = subject.run.scalars["fcd_step0"]
        panels.append(Panel(f"{subject.name}: FCD {fcd:.1f}", grid(images, SIDE)))
    text = (
        "Sridhar & Srivastava, figure 4: samples of each model. z is drawn from the prior of the "
        "VAE and of the AAE, and from the distribution that was fitted to the codes in the "
        f"others. {fcd_images(subjects)} Its scale depends on the classifier, and is not that of "
        "the paper."
    )
    caption = pages.caption(text, subjects)
    pages.keep(subjects, print_panels(panels, len(panels), caption, pages.folder / "samples"))


def draw_losses(pages: FigurePages, subjects: Sequence[Subject]) -> None:
    """Draw the losses of the second stages by optimiser step (figures 5 and 6)."""
    curves = []
    for subject in subjects:
        names, title, label = TERMS[subject.family]
        lines = {name.removeprefix("code_"): subject.run.chain[f"train/{name}"] for name in names}
        curves.append(Curve(f"{title} ({subject.name})", lines, label))
    text = (
        "Sridhar & Srivastava, figures 5 and 6: the losses of the second stages, which begin "
        "after the training of the autoencoder. Each value is a mean over the steps since the "
        "one before. That of the WGAN may be negative."
    )
    caption = pages.caption(text, subjects)
    pages.keep(subjects, print_curves(curves, caption, pages.folder / "losses"))


def draw_code_maps(pages: FigurePages, subjects: Sequence[Subject]) -> None:
    """Draw a t-SNE of held-out codes for each autoencoder (figures 2 and 7)."""
    titles, test = dict(DRAWN), pages.splits.test
    clouds = []
    for subject in subjects:
        binarize = subject.experiment.data.binarize
        points, labels = code_map(subject.model, test, binarize)
        clouds.append(Cloud(titles[subject.family], points, labels))
    count = len(clouds[0].points)
    text = (
        f"Sridhar & Srivastava, figures 2 and 7: t-SNE of the codes of {count:,} held-out images, "
        "with a colour for each class. The paper does not state the number of images."
    )
    smaller = perplexity(count) < PERPLEXITY
    other = [f"perplexity {perplexity(count):g} (paper: {PERPLEXITY})"] if smaller else []
    caption = pages.caption(text, subjects, *other)
    pages.keep(subjects, print_clouds(clouds, caption, pages.folder / "tsne"))
