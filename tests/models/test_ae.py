import torch
from contracts.model import ModelContract
from contracts.toys import images

from genae_core.draw import Draw
from genae_core.likelihoods import GaussianPixels
from genae_core.models.ae import AEConfig, reconstruction_loss, reconstruction_under_dropout
from genae_core.models.base import Batch
from genae_core.nets.mlp import MLPConfig

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


def test_dropout_takes_its_masks_from_the_draw() -> None:
    with Draw(0).as_global():
        model = AEConfig(latent_dim=3, net=MLPConfig(widths=(32,), dropout=0.5)).build((1, 8, 8))
    (stage,) = model.stages()
    assert stage.phases[0].loss is reconstruction_under_dropout
    batch = Batch(images(6, (1, 8, 8)), torch.full((6,), -1))
    model.train()
    one, other = (float(stage.phases[0].loss(model, batch, Draw(s))[0].detach()) for s in (1, 2))
    assert one != other
    plain = AEConfig(latent_dim=3, net=NET).build((1, 8, 8)).stages()[0].phases[0]
    assert plain.loss is reconstruction_loss
