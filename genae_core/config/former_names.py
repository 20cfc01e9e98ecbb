"""The names that configs had on disk up to version 0.1: their import paths at that time.

Files in users' stores hold these paths, and run keys and cache keys are hashes over them. This
table therefore never changes. A newer config has only the name that it is registered with.
"""

FORMER_PATHS = {
    "data.celeba": "genae_core.data.celeba.CelebAConfig",
    "data.digits": "genae_core.data.digits.DigitsConfig",
    "data.image_folder": "genae_core.data.image_folder.ImageFolderConfig",
    "data.mnist": "genae_core.data.mnist.MNISTConfig",
    "data.svhn": "genae_core.data.svhn.SVHNConfig",
    "divergence.f": "genae_core.divergences.f_divergence.FDivergence",
    "divergence.least_squares": "genae_core.divergences.least_squares.LeastSquares",
    "divergence.mmd": "genae_core.divergences.mmd.MMD",
    "divergence.wasserstein": "genae_core.divergences.wasserstein.Wasserstein",
    "experiment": "genae_core.experiment.Experiment",
    "bernoulli_pixels": "genae_core.likelihoods.BernoulliPixels",
    "gaussian_pixels": "genae_core.likelihoods.GaussianPixels",
    "classifier": "genae_core.metrics.classifier.ClassifierConfig",
    "aae": "genae_core.models.aae.AAEConfig",
    "adv_ae": "genae_core.models.adv_ae.AdvAEConfig",
    "ae": "genae_core.models.ae.AEConfig",
    "adam": "genae_core.models.base.AdamConfig",
    "cluster_aae": "genae_core.models.cluster_aae.ClusterAAEConfig",
    "ex_post_ae": "genae_core.models.ex_post_ae.ExPostAEConfig",
    "flow_ae": "genae_core.models.flow_ae.FlowAEConfig",
    "gmmn_ae": "genae_core.models.gmmn_ae.GMMNAEConfig",
    "style_aae": "genae_core.models.style_aae.StyleAAEConfig",
    "vae": "genae_core.models.vae.VAEConfig",
    "wae": "genae_core.models.wae.WAEConfig",
    "compute": "genae_core.nets.base.ComputeConfig",
    "net.dcgan": "genae_core.nets.dcgan.DCGANConfig",
    "net.mlp": "genae_core.nets.mlp.MLPConfig",
    "critic.mlp": "genae_core.nets.mlp.CriticConfig",
    "generator.mlp": "genae_core.nets.mlp.GeneratorConfig",
    "fitted_prior.mixture": "genae_core.priors.ex_post.ExPostMixture",
    "flow": "genae_core.priors.flow.FlowConfig",
    "prior.flow": "genae_core.priors.flow.FlowPriorConfig",
    "prior.ring": "genae_core.priors.mixture.RingPriorConfig",
    "prior.normal": "genae_core.priors.normal.NormalPriorConfig",
    "prior.swiss_roll": "genae_core.priors.swiss_roll.SwissRollPriorConfig",
    "prior.uniform": "genae_core.priors.uniform.UniformPriorConfig",
    "prior.vamp": "genae_core.priors.vamp.VampPriorConfig",
    "sampler.ancestral": "genae_core.samplers.ancestral.Ancestral",
    "chain": "genae_core.samplers.base.ChainConfig",
    "sampler.encode_decode": "genae_core.samplers.encode_decode.EncodeDecode",
    "sampler.langevin": "genae_core.samplers.langevin.Langevin",
    "sampler.metropolis": "genae_core.samplers.metropolis.Metropolis",
    "sampler.reconstruction": "genae_core.samplers.reconstruction.Reconstruction",
    "training": "genae_core.training.TrainingConfig",
}

# Some fields had another name up to version 0.1: {config: {present name: former name}}.
FORMER_FIELDS = {"chain": {"fitted_prior": "law"}}
