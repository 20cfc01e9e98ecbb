"""The claims of Makhzani et al. 2016 about codes and samples, each with its statistic.

Semi-supervised codes and clusters have tables of their own, in paper_tables.py.
"""

from genae_core.recipes.claim_cells import ClaimModel
from genae_core.recipes.claim_runs import DRAWS, StoredClaim
from genae_core.recipes.claim_statistics import at, scalar
from genae_core.report.ledger import Claim

PLANES = (("gaussian_aae", "gaussian_vae"), ("mixture_aae", "mixture_vae"))
LATENT_DIM = 8  # of the models of Table 1 (footnote 1)
MAKHZANI_MODELS = {
    "gaussian_aae": ClaimModel(family="aae", figure="gaussian_aae"),
    "gaussian_vae": ClaimModel(family="vae", figure="gaussian_vae"),
    "mixture_aae": ClaimModel(family="aae", figure="mixture_aae"),
    "mixture_vae": ClaimModel(family="vae", figure="mixture_vae"),
    "aae": ClaimModel(family="aae", latent_dim=LATENT_DIM),
    "AAE (Gaussian posterior)": ClaimModel(
        family="aae", latent_dim=LATENT_DIM, settings={"posterior": "gaussian"}
    ),
    "AAE (universal posterior)": ClaimModel(
        family="aae", latent_dim=LATENT_DIM, settings={"posterior": "universal"}
    ),
    "gmmn_ae": ClaimModel(family="gmmn_ae", latent_dim=LATENT_DIM),
    "gan": ClaimModel(family="gan", latent_dim=LATENT_DIM),
}
MAKHZANI = (
    StoredClaim(
        Claim(
            name="fills",
            text="The codes of an AAE leave fewer holes in the prior than those of a VAE",
            source="Makhzani et al. 2016, section 2.1, figure 2",
            statistic="share of 20 x 20 cells of equal mass of the prior without a code of 5,000 "
            "held-out images, of the first less of the second",
            high=0.0,
        ),
        scalar("empty_cells"),
        PLANES,
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="matches",
            text="The codes of an AAE match the prior more closely than those of a VAE",
            source="Makhzani et al. 2016, section 2.1, figure 2",
            statistic="squared sliced W2 of the codes to the prior, of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        scalar("codes_prior_w2"),
        PLANES,
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="likelihood-order",
            text="Samples of the AAE have a higher likelihood than those of GMMN+AE, and these a "
            "higher one than those of the GAN",
            source="Makhzani et al. 2016, table 1",
            statistic="Parzen log-likelihood of 2,000 draws in nats, of the first less of the "
            "second",
            low=0.0,
        ),
        at("parzen", min),
        (("aae", "gmmn_ae"), ("gmmn_ae", "gan")),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="posteriors",
            text="Deterministic, Gaussian and universal posteriors have similar likelihoods",
            source="Makhzani et al. 2016, section 2",
            statistic="Parzen log-likelihood of 2,000 draws in nats, of the first less of the "
            "second; 10 nats are allowed",
            low=-10.0,
            high=10.0,
        ),
        at("parzen", min),
        (("AAE (Gaussian posterior)", "aae"), ("AAE (universal posterior)", "aae")),
        chains=DRAWS,
    ),
)
