"""The claims of Creswell, Arulkumaran & Bharath about samples, each with its statistic.

The sections and figures are those of the version of 2017, unless the year 2016 is named. All FCDs
are on test images, and steps are chosen on validation images.
"""

import math

from genae_core.recipes.claim_runs import StoredClaim
from genae_core.recipes.claim_statistics import (
    approach,
    at,
    best_fcd,
    fraction,
    harm,
    improvement,
    scalar,
)
from genae_core.report.ledger import Claim
from genae_core.tracking.mlflow_store import StoredRun

EACH = (("vae",), ("dvae",), ("aae",), ("daae",))
REALISM = "probability of the likeliest class (of data without classes: realism score)"
STUCK = 10_000.0  # beyond this R-hat the chains hardly move, and its digits say nothing


def _mixing(run: StoredRun) -> float | None:
    """The largest split R-hat of a latent dimension at the last step."""
    value = at("rhat", max)(run)
    return None if value is None else min(value, STUCK)


def _distance_from_prior(run: StoredRun) -> float | None:
    """The distance of the codes' standard deviation from 1, on a log scale."""
    value = run.scalars.get("codes_sd")
    return None if value is None or value <= 0 else abs(math.log(value))


CRESWELL = (
    StoredClaim(
        Claim(
            name="improves",
            text="A few steps of the chain improve samples from the prior",
            source="Creswell et al. 2017, section 5, figure 4",
            statistic="FCD at the best step after step 0 / FCD at step 0",
            high=1.0,
            ratio=True,
        ),
        improvement,
        EACH,
    ),
    StoredClaim(
        Claim(
            name="lasts",
            text="The chain converges, so that more steps do not make samples worse",
            source="Creswell et al. 2017, section 3.2, theorem 1 and lemma 2",
            statistic="FCD at the last step / FCD at the best step before it; 5 % are allowed, "
            "since the best step is chosen",
            high=1.05,
            ratio=True,
        ),
        harm,
        EACH,
    ),
    StoredClaim(
        Claim(
            name="approaches",
            text="The chain moves z from the prior towards the distribution of the codes",
            source="Creswell et al. 2017, section 3.2, lemma 2",
            statistic="squared sliced W2 of z to codes of images, at the last step / at step 0",
            high=1.0,
            ratio=True,
        ),
        approach,
        EACH,
    ),
    StoredClaim(
        Claim(
            name="mixes",
            text="The chain has become stationary at the last recorded step",
            source="Creswell et al. 2017, section 3.2, theorem 1",
            statistic="largest split R-hat of a latent dimension at the last step",
            high=1.01,
            ratio=True,
        ),
        _mixing,
        EACH,
    ),
    StoredClaim(
        Claim(
            name="narrow-codes",
            text="The codes of adversarial autoencoders have a standard deviation below 1",
            source="Creswell et al. 2017, figure 4 (caption)",
            statistic="standard deviation of the codes, mean over the latent dimensions",
            high=1.0,
        ),
        scalar("codes_sd"),
        (("aae",), ("daae",)),
    ),
    StoredClaim(
        Claim(
            name="closer-prior",
            text="The codes of a VAE approximate the prior more closely than those of an AAE",
            source="Creswell et al. 2017, figure 4 (caption)",
            statistic="|log standard deviation of the codes|, of the first less of the second",
            high=0.0,
        ),
        _distance_from_prior,
        (("vae", "aae"), ("dvae", "daae")),
    ),
    StoredClaim(
        Claim(
            name="more-in-aae",
            text="The effect of the chain is more pronounced in adversarial autoencoders",
            source="Creswell et al. 2017, figure 4 (caption)",
            statistic="best FCD / FCD at step 0, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        improvement,
        (("aae", "vae"), ("daae", "dvae")),
    ),
    StoredClaim(
        Claim(
            name="alike-at-start",
            text="Samples of denoising VAEs look at first like those of plain VAEs",
            source="Creswell et al. 2016, section 1",
            statistic="FCD at step 0, of the first / of the second",
            low=0.9,
            high=1.1,
            ratio=True,
        ),
        at("fcd", min),
        (("dvae", "vae"),),
    ),
    StoredClaim(
        Claim(
            name="denoising-at-start",
            text="In a denoising AAE the denoising is noticeable before any step",
            source="Creswell et al. 2017, figure 4 (caption)",
            statistic="FCD at step 0, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        at("fcd", min),
        (("daae", "aae"),),
    ),
    StoredClaim(
        Claim(
            name="denoising-later",
            text="The chain reveals the denoising: its samples are better in denoising models",
            source="Creswell et al. 2017, section 5",
            statistic="FCD at the best step after step 0, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        best_fcd,
        (("dvae", "vae"), ("daae", "aae")),
    ),
    StoredClaim(
        Claim(
            name="reaches",
            text="After 50 steps z has the distribution of the codes",
            source="Creswell et al. 2017, section 3.2, lemma 2",
            statistic="squared sliced W2 of z to codes of images / that of two halves of codes; "
            "10 % are allowed",
            high=1.1,
            ratio=True,
        ),
        scalar("codes_gap"),
        EACH,
        needs="chains",
    ),
    StoredClaim(
        Claim(
            name="forgets",
            text="After 50 steps the distribution of z does not depend on the start",
            source="Creswell et al. 2017, section 3.2, theorem 1",
            statistic="largest squared sliced W2 between chains from N(0, I), N(0, 9 I) and 0 / "
            "that of two sets of chains from N(0, I); twice as large is allowed",
            high=2.0,
            ratio=True,
        ),
        scalar("start_gap"),
        EACH,
        needs="chains",
    ),
    StoredClaim(
        Claim(
            name="good-stay",
            text="Realistic samples change less in a step than unrealistic ones",
            source="Creswell et al. 2017, figure 4 (caption)",
            statistic=f"Spearman's correlation over chains of the {REALISM} at step 0 and "
            "|x1 - x0|^2",
            high=0.0,
        ),
        scalar("movement"),
        EACH,
        needs="realism",
    ),
    StoredClaim(
        Claim(
            name="paths",
            text="The chain makes images between two images more realistic",
            source="Creswell et al. 2017, figure 2",
            statistic=f"{REALISM} in the middle third of spherical paths, after 5 steps / before "
            "the first",
            low=1.0,
            ratio=True,
        ),
        fraction("path_later", "path_start"),
        EACH,
        needs="realism",
    ),
    StoredClaim(
        Claim(
            name="spherical",
            text="Spherical paths between images are more realistic than straight ones",
            source="White 2016, as Creswell et al. 2017, section 1, take it up",
            statistic=f"{REALISM} in the middle third of paths before the first step, spherical / "
            "straight",
            low=1.0,
            ratio=True,
        ),
        fraction("path_start", "path_straight"),
        EACH,
        needs="realism",
    ),
    StoredClaim(
        Claim(
            name="denoises",
            text="A denoising model recovers images from noise of standard deviation 0.5",
            source="Creswell et al. 2017, figure 3",
            statistic="PSNR of the reconstruction less PSNR of the noisy image, in dB",
            low=0.0,
        ),
        scalar("denoising_gain_0.5"),
        (("dvae",), ("daae",)),
        needs="chains",
    ),
    StoredClaim(
        Claim(
            name="copies",
            text="Decoding the codes of training images gives images like the training images",
            source="Creswell et al. 2017, section 1, approach 1",
            statistic="distance to the nearest training image, of reconstructions of training "
            "images / of held-out images",
            high=1.0,
            ratio=True,
        ),
        fraction("nearest_copied", "nearest_real"),
        EACH,
        needs="chains",
    ),
    StoredClaim(
        Claim(
            name="novel",
            text="Samples of the chain are more novel than decoded codes of training images",
            source="Creswell et al. 2017, section 1, approach 1, and section 3.4",
            statistic="distance to the nearest training image, of samples after 5 steps / of "
            "reconstructions of training images",
            low=1.0,
            ratio=True,
        ),
        fraction("nearest_chain", "nearest_copied"),
        EACH,
        needs="chains",
    ),
    StoredClaim(
        Claim(
            name="desaturates",
            text="After a few steps, images of a denoising VAE are less saturated than of a VAE",
            source="Creswell et al. 2017, figure 5 (caption)",
            statistic="mean HSV saturation of samples after 5 steps, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        scalar("saturation@5"),
        (("dvae", "vae"),),
        needs="colours",
    ),
    StoredClaim(
        Claim(
            name="flattens",
            text="After a few steps, images of a denoising VAE have less contrast than of a VAE",
            source="Creswell et al. 2017, figure 5 (caption)",
            statistic="RMS contrast of samples after 5 steps, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        scalar("contrast@5"),
        (("dvae", "vae"),),
        needs="colours",
    ),
)
