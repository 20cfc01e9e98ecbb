"""The claims of the slides "Understanding Deep Generative Models" (2018), each with its statistic.

Most are decided by the runs and rows of tables that paper_tables.py makes; the study of claims
trains the beta-VAEs.
"""

import itertools
from collections.abc import Callable, Sequence

from genae_core.recipes.claim_cells import ClaimModel
from genae_core.recipes.claim_runs import DRAWS, Row, StoredClaim
from genae_core.recipes.claim_statistics import at, last_over_first, scalar
from genae_core.recipes.robustness_table import BASELINE as DCGAN
from genae_core.report.ledger import Claim, Measurement
from genae_core.tracking.mlflow_store import StoredRun

FCD = at("fcd", min)
TABLES = "python sweeps/paper_tables.py --table"
FILES = "--dataset NAME --data-root DIR"
IMAGES = f"python sweeps/image_space.py {FILES}"
BETAS = (1, 2, 4, 8)
SLIDES_MODELS = {
    f"beta={beta}": ClaimModel(family="vae", settings={"beta": float(beta)}) for beta in BETAS
}
GAMMAS = (("gamma=0.5", "gamma=0.3"), ("gamma=0.7", "gamma=0.5"))
BASELINE = ("architecture", DCGAN)


def fit_errors(rows: Sequence[Row]) -> list[Measurement]:
    """The larger error of mean and standard deviation of each f-GAN in one dimension."""
    measurements = []
    for row in rows:
        if "fits" in row:
            errors = {
                seed: max(abs(mean - row["best_mean"]), abs(sd - row["best_sd"]))
                for seed, (mean, sd) in enumerate(row["fits"])
            }
            measurements.append(Measurement(row["name"], errors))
    return measurements


def fit_order(rows: Sequence[Row]) -> list[Measurement]:
    """The standard deviation of each f-GAN's fit, less that of the next, in the claimed order."""
    order = ("reverse kl", "squared hellinger", "jensen shannon", "kl", "pearson")
    fits = {row["name"]: row["fits"] for row in rows if "fits" in row}
    pairs = [pair for pair in itertools.pairwise(order) if set(pair) <= set(fits)]
    return [
        Measurement(
            f"{a}/{b}",
            {seed: x[1] - y[1] for seed, (x, y) in enumerate(zip(fits[a], fits[b], strict=True))},
        )
        for a, b in pairs
    ]


def gradients(name: str) -> Callable[[Sequence[Row]], list[Measurement]]:
    """The gradient of the generator of a family, from the rows of the table saturation."""

    def measure(rows: Sequence[Row]) -> list[Measurement]:
        return [
            # The smallest float stands for a gradient that has underflowed.
            Measurement(name, {s: max(g, 1e-45) for s, g in enumerate(row["gradients"])})
            for row in rows
            if "gradients" in row and row["name"] == name
        ]

    return measure


def loss_correlations(rows: Sequence[Row]) -> list[Measurement]:
    """The correlations of losses that are said to tell the quality of samples with the FCD.

    A training that has collapsed at once has no correlation, and no value here.
    """
    by_name: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.get("spearman") is not None and row["estimate"] in ("distance", "M_global"):
            by_name.setdefault(row["name"], {})[row["seed"]] = row["spearman"]
    return [Measurement(name, values) for name, values in by_name.items()]


def _none(_: StoredRun) -> None:
    """The statistic of a run for claims about rows: there is none."""


SLIDES = (
    StoredClaim(
        Claim(
            name="f-gan-optimum",
            text="An f-GAN minimises its f-divergence",
            source="Understanding Deep Generative Models, f-GAN",
            statistic="larger error of the mean and the standard deviation of a Gaussian that is"
            " fitted to a mixture of two, against quadrature",
            high=0.03,
        ),
        _none,
        (),
        command=f"{TABLES} f_gan_1d --json ROWS.json",
        rows=fit_errors,
    ),
    StoredClaim(
        Claim(
            name="mode-seeking",
            text="The divergences go from seeking a mode to covering all: reverse KL, Hellinger,"
            " Jensen-Shannon, KL, Pearson",
            source="Understanding Deep Generative Models, f-GAN",
            statistic="standard deviation of the fitted Gaussian, of the first less of the second",
            high=0.0,
        ),
        _none,
        (),
        command=f"{TABLES} f_gan_1d --json ROWS.json",
        rows=fit_order,
    ),
    StoredClaim(
        Claim(
            name="gan-saturates",
            text="The gradient of the saturating GAN vanishes where two distributions hardly "
            "overlap",
            source="Understanding Deep Generative Models, WGAN",
            statistic="gradient of the generator of N(0, 1) towards N(8, 1), median over samples",
            high=1e-06,
            ratio=True,
        ),
        _none,
        (),
        command=f"{TABLES} saturation --json ROWS.json",
        rows=gradients("GAN (saturating)"),
    ),
    StoredClaim(
        Claim(
            name="wgan-keeps-gradient",
            text="The critic of the WGAN-GP does not saturate there",
            source="Understanding Deep Generative Models, WGAN",
            statistic="gradient of the generator of N(0, 1) towards N(8, 1), median over samples",
            low=0.3,
            high=1.1,
            ratio=True,
        ),
        _none,
        (),
        command=f"{TABLES} saturation --json ROWS.json",
        rows=gradients("WGAN-GP"),
    ),
    StoredClaim(
        Claim(
            name="loss-tracks-quality",
            text="The losses of WGAN-GP and BEGAN tell the quality of the samples",
            source="Understanding Deep Generative Models, WGAN and BEGAN",
            statistic="Spearman's correlation of the estimate and the FCD over the epochs of a "
            "training",
            low=0.8,
        ),
        _none,
        (),
        command=f"{TABLES} loss_tracks_quality {FILES} --json ROWS.json",
        rows=loss_correlations,
    ),
    StoredClaim(
        Claim(
            name="gans-beat-vae",
            text="WGAN-GP, GAN and LSGAN have better samples than the VAE",
            source="Understanding Deep Generative Models, GAN",
            statistic="FCD of draws, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("wgan_gp", "vae"), ("gan", "vae"), ("ls_gan", "vae")),
        chains=DRAWS,
        command=IMAGES,
    ),
    StoredClaim(
        Claim(
            name="mmd-gan-halves",
            text="MMD GAN outperforms GMMN significantly",
            source="Understanding Deep Generative Models, MMD GAN",
            statistic="FCD of draws, of the first / of the second; at most half is asked",
            high=0.5,
            ratio=True,
        ),
        FCD,
        (("mmd_gan", "gmmn"),),
        chains=DRAWS,
        command=IMAGES,
    ),
    StoredClaim(
        Claim(
            name="gp-trains-all",
            text="WGAN-GP trains every architecture",
            source="Understanding Deep Generative Models, WGAN-GP",
            statistic="FCD / FCD of the DCGAN with the same loss; a training fails above 3",
            high=3.0,
            ratio=True,
        ),
        FCD,
        (("wgan_gp",),),
        chains=DRAWS,
        command=f"{TABLES} robustness {FILES}",
        baseline=BASELINE,
    ),
    StoredClaim(
        Claim(
            name="others-fail",
            text="GAN, LSGAN and WGAN fail with some architectures: those that are confirmed",
            source="Understanding Deep Generative Models, WGAN-GP",
            statistic="FCD / FCD of the DCGAN with the same loss; a training fails above 3",
            low=3.0,
            ratio=True,
        ),
        FCD,
        (("gan",), ("ls_gan",), ("wgan",)),
        chains=DRAWS,
        command=f"{TABLES} robustness {FILES}",
        baseline=BASELINE,
    ),
    StoredClaim(
        Claim(
            name="gamma-recall",
            text="A BEGAN with a larger gamma covers more of the data",
            source="Understanding Deep Generative Models, BEGAN",
            statistic="recall of draws, of the first less of the second",
            low=0.0,
        ),
        at("recall", min),
        GAMMAS,
        chains=DRAWS,
        command=f"{TABLES} began_gamma {FILES}",
    ),
    StoredClaim(
        Claim(
            name="gamma-precision",
            text="A BEGAN with a larger gamma has less precise samples",
            source="Understanding Deep Generative Models, BEGAN",
            statistic="precision of draws, of the first less of the second",
            high=0.0,
        ),
        at("precision", min),
        GAMMAS,
        chains=DRAWS,
        command=f"{TABLES} began_gamma {FILES}",
    ),
    StoredClaim(
        Claim(
            name="infogan-classes",
            text="InfoGAN finds the digits without labels",
            source="Understanding Deep Generative Models, InfoGAN",
            statistic="error of the class as a classifier of digits, in percent",
            high=5.0,
        ),
        scalar("infogan_error"),
        (("info_gan",),),
        chains=DRAWS,
        command=f"{TABLES} infogan --data-root DIR",
    ),
    StoredClaim(
        Claim(
            name="infogan-information",
            text="The class of an InfoGAN stays in its images",
            source="Understanding Deep Generative Models, InfoGAN",
            statistic="lower bound on I(c1; x) in nats, of at most 2.303",
            low=2.0,
        ),
        scalar("infogan_information"),
        (("info_gan",),),
        chains=DRAWS,
        command=f"{TABLES} infogan --data-root DIR",
    ),
    StoredClaim(
        Claim(
            name="infogan-slant",
            text="A continuous code of an InfoGAN is the slant of digits",
            source="Understanding Deep Generative Models, InfoGAN",
            statistic="largest |Spearman correlation| of a continuous code with the slant",
            low=0.7,
        ),
        scalar("infogan_slant"),
        (("info_gan",),),
        chains=DRAWS,
        command=f"{TABLES} infogan --data-root DIR",
    ),
    StoredClaim(
        Claim(
            name="infogan-width",
            text="A continuous code of an InfoGAN is the width of strokes",
            source="Understanding Deep Generative Models, InfoGAN",
            statistic="largest |Spearman correlation| of a continuous code with the width of the"
            " strokes",
            low=0.7,
        ),
        scalar("infogan_width"),
        (("info_gan",),),
        chains=DRAWS,
        command=f"{TABLES} infogan --data-root DIR",
    ),
    StoredClaim(
        Claim(
            name="beta-narrows",
            text="A larger beta of a VAE limits the capacity of its codes",
            source="Understanding Deep Generative Models, beta-VAE",
            statistic="number of dimensions in which E[z|x] varies with a variance above 0.01, "
            "of the first less of the second",
            high=0.0,
        ),
        scalar("active_dims"),
        tuple((f"beta={b}", f"beta={a}") for a, b in itertools.pairwise(BETAS)),
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="wae-order",
            text="WAE-GAN has better samples than WAE-MMD, and this better ones than the VAE",
            source="Understanding Deep Generative Models, WAE",
            statistic="FCD of draws, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("wae_gan", "wae_mmd"), ("wae_mmd", "vae")),
        chains=DRAWS,
        command=f"{TABLES} wae {FILES}",
    ),
    StoredClaim(
        Claim(
            name="bigan-stationary",
            text="The chain of a BiGAN begins in its stationary distribution, since its encoder "
            "inverts its generator",
            source="Understanding Deep Generative Models, GAN",
            statistic="FCD at the last step / at step 0; 10 % are allowed",
            low=0.9,
            high=1.1,
            ratio=True,
        ),
        last_over_first,
        (("bigan",),),
        command=IMAGES,
    ),
)
