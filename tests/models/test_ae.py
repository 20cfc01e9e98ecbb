from genae_core.models.ae import AEConfig
from genae_core.models.likelihoods import GaussianPixels
from genae_core.nets.mlp import MLPConfig
from genae_core.testing.model import ModelContract

NET = MLPConfig(widths=(32,))


class TestAE(ModelContract):
    config = AEConfig(latent_dim=3, net=NET)


class TestDAE(ModelContract):
    noise = 0.5
    config = AEConfig(latent_dim=3, net=NET, noise=noise)


class TestDropoutAE(ModelContract):
    config = AEConfig(latent_dim=3, net=MLPConfig(widths=(32,), dropout=0.2), noise=0.0)


class TestAEGaussian(ModelContract):
    config = AEConfig(latent_dim=3, net=NET, likelihood=GaussianPixels(sd=0.5))
