"""The claims of Sridhar & Srivastava, each with its statistic.

All FCDs are on test images, of draws from the prior or from the distribution that was fitted to
the codes. The networks use their running averages.
"""

from genae_core.divergences.f_divergence import FDivergence
from genae_core.nets.dcgan import DCGANConfig
from genae_core.recipes.claim_cells import ClaimModel
from genae_core.recipes.claim_runs import DRAWS, StoredClaim
from genae_core.recipes.claim_statistics import at, falling_share, first_of, log_of, scalar
from genae_core.report.ledger import Claim

FCD = at("fcd", min)
FLOWS = ("radial flow", "MAF", "flow_ae", "flow_ae_spline")  # those that are not planar
SRIDHAR_MODELS = {
    **{name: ClaimModel(family=name) for name in ("vae", "aae", "adv_ae", "flow_ae")},
    "flow_ae_spline": ClaimModel(family="flow_ae_spline"),
    "planar flow": ClaimModel(family="flow_ae", settings={"flow.kind": "planar"}),
    "radial flow": ClaimModel(family="flow_ae", settings={"flow.kind": "radial"}),
    "MAF": ClaimModel(family="flow_ae", settings={"flow.kind": "maf"}),
    "AdvAE (GAN)": ClaimModel(family="adv_ae", settings={"divergence": FDivergence()}),
    # The likelihood of deterministic codes has no bound if the encoder is trained with it, so the
    # model with joint training is a VAE.
    "joint flow": ClaimModel(family="vae", prior="flow"),
    "convolutional": ClaimModel(family="flow_ae", net=DCGANConfig(width=16)),
}

SRIDHAR = (
    StoredClaim(
        Claim(
            name="beats-vae",
            text="FlowAE, AdvAE and AAE have better samples than the VAE",
            source="Sridhar & Srivastava, table 1",
            statistic="FCD of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("flow_ae", "vae"), ("adv_ae", "vae"), ("aae", "vae")),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="flow-best",
            text="FlowAE has better samples than AdvAE and AAE",
            source="Sridhar & Srivastava, table 1",
            statistic="FCD of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("flow_ae", "adv_ae"), ("flow_ae", "aae")),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="planar-worst",
            text="Planar flows are not expressive enough for the codes",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="-log p(z) of codes of held-out images in nats, of the first less of the "
            "second",
            low=0.0,
        ),
        scalar("code_nll"),
        tuple(("planar flow", other) for other in FLOWS),
        needs="density",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="slow-sampling",
            text="Autoregressive flows are expensive: their codes are drawn slowly",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="seconds for 10,000 codes, of the first / of the second; claimed is more "
            "than twice",
            low=2.0,
            ratio=True,
        ),
        scalar("sampling_seconds"),
        (("MAF", "flow_ae"), ("flow_ae_spline", "flow_ae")),
        needs="density",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="slow-training",
            text="Autoregressive flows are expensive: they are trained slowly",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="seconds of the training, with that of the autoencoder, of the first / of "
            "the second; claimed is more than twice",
            low=2.0,
            ratio=True,
        ),
        scalar("training_seconds"),
        (("MAF", "flow_ae"), ("flow_ae_spline", "flow_ae")),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="realnvp-best",
            text="Of the flows that are fast to draw from, RealNVP has the best samples",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="FCD of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("flow_ae", "planar flow"), ("flow_ae", "radial flow")),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="wgan-better",
            text="AdvAE has better samples with the WGAN-GP loss than with the GAN loss",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="FCD of the first / of the second",
            high=1.0,
            ratio=True,
        ),
        FCD,
        (("adv_ae", "AdvAE (GAN)"),),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="wgan-steadier",
            text="AdvAE is trained more stably with the WGAN-GP loss than with the GAN loss",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="|log FCD - its median over the seeds|, of the first less of the second",
            high=0.0,
        ),
        log_of(FCD),
        (("adv_ae", "AdvAE (GAN)"),),
        chains=DRAWS,
        is_spread=True,
    ),
    StoredClaim(
        Claim(
            name="joint-worse",
            text="Training the flow together with the autoencoder is unstable, and gives worse "
            "samples than training it afterwards",
            source="Sridhar & Srivastava, section 5.2.1",
            statistic="FCD of a VAE whose prior is the flow / of the FlowAE",
            low=1.0,
            ratio=True,
        ),
        FCD,
        (("joint flow", "flow_ae"),),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="convolutional-worse",
            text="A convolutional autoencoder gives worse samples than a fully connected one",
            source="Sridhar & Srivastava, section 5.2.3",
            statistic="FCD of the FlowAE with a DCGAN of width 16 / with fully connected networks",
            low=1.0,
            ratio=True,
        ),
        FCD,
        (("convolutional", "flow_ae"),),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="pure-neighbours",
            text="The clusters of an autoencoder's codes are more compact than those of a VAE",
            source="Sridhar & Srivastava, section 5.3.4, figure 7",
            statistic="share of the 10 nearest codes that have the same class, of the first less "
            "of the second",
            low=0.0,
        ),
        scalar("purity"),
        (("flow_ae", "vae"),),
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="compact",
            text="The clusters of an autoencoder's codes are more compact than those of a VAE",
            source="Sridhar & Srivastava, section 5.3.4, figure 7",
            statistic="silhouette of the classes in the codes, of the first less of the second",
            low=0.0,
        ),
        scalar("silhouette"),
        (("flow_ae", "vae"),),
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="compact-tsne",
            text="The clusters in a t-SNE of an autoencoder's codes are more compact than a VAE's",
            source="Sridhar & Srivastava, section 5.3.4, figure 7",
            statistic="silhouette of the classes in the t-SNE of 1,000 codes with perplexity 70, "
            "of the first less of the second",
            low=0.0,
        ),
        scalar("tsne_silhouette"),
        (("flow_ae", "vae"),),
        needs="codes",
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="flow-falls",
            text="The loss of a flow falls monotonically, which makes a stopping criterion easy",
            source="Sridhar & Srivastava, section 5.3.3, figure 6",
            statistic="share of ten windows of the training in which the loss is lower than in "
            "the one before",
            low=0.9,
        ),
        falling_share("train/flow"),
        (("flow_ae",),),
        chains=DRAWS,
    ),
    StoredClaim(
        Claim(
            name="flow-smoother",
            text="The loss of a flow falls more steadily than that of an adversarial generator",
            source="Sridhar & Srivastava, section 5.3.3, figures 5 and 6",
            statistic="share of ten windows of the training in which the loss falls, of the first "
            "less of the second",
            low=0.0,
        ),
        first_of(falling_share("train/flow"), falling_share("train/generator")),
        (("flow_ae", "adv_ae"),),
        chains=DRAWS,
    ),
)
