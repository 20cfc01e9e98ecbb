import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.models.base import Batch, Examples
from genae_core.models.optimizers import AdamConfig
from genae_core.models.style_aae import StyleAAE, StyleAAEConfig, labelled_reconstruction_loss
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16,))


class TestStyleAAE(ModelContract):
    size_field = "style_dim"
    config = StyleAAEConfig(style_dim=3, num_classes=4, net=NET, critic=CRITIC)


class TestDenoisingStyleAAE(ModelContract):
    size_field = "style_dim"
    noise = 0.3
    config = StyleAAEConfig(style_dim=2, num_classes=4, net=NET, critic=CRITIC, noise=noise)


def bars(count: int) -> tuple[Tensor, Tensor]:
    """Images [N, 1, 8, 8] with one bright row. Its number is the class, its light the style."""
    labels = torch.arange(count) % 4
    light = 0.4 + 0.6 * Draw(0, "light").uniform((count,))
    x = torch.zeros(count, 1, 8, 8)
    for row in range(count):
        x[row, 0, 2 * int(labels[row])] = light[row]
    return x, labels


def trained() -> StyleAAE:
    config = StyleAAEConfig(
        style_dim=1,
        num_classes=4,
        noise=0.3,
        net=NET,
        critic=CriticConfig(widths=(32,), dropout=0.0),
        adversarial_optimizer=AdamConfig(learning_rate=1e-3, beta1=0.5),
    )
    with Draw(0).as_global():
        model = config.build((1, 8, 8))
    x, labels = bars(400)
    hidden = torch.where(torch.arange(400) % 8 < 4, labels, -1)  # half of them unlabelled
    examples = Examples(400, lambda i: Batch(x[i], hidden[i]))
    fit(model, model.stages(), examples, TrainingConfig(epochs=150, batch_size=50), Draw(1))
    return model


@pytest.mark.slow
def test_the_class_is_in_the_label_and_the_style_in_the_code() -> None:
    model = trained()
    x, labels = bars(400)
    with torch.no_grad():
        z = model.encode(x).mean
        assert (z[:, 1:].argmax(1) == labels).float().mean() > 0.95
        style = Draw(3).normal((400, 1))
        lit = model.decode(torch.cat([style, F.one_hot(labels, 4)], 1)).mean.sum((1, 3)).argmax(1)
        # A decoder that ignores the class is right for one class of four.
        assert (lit == 2 * labels).float().mean() > 0.7


def test_the_loss_is_over_labelled_images_only() -> None:
    config = StyleAAEConfig(style_dim=2, num_classes=4, net=NET, critic=CRITIC)
    with Draw(1).as_global():
        model = config.build((1, 8, 8)).eval()
    x = images(6, (1, 8, 8))
    labels = torch.tensor([0, 1, 2, 3, -1, -1])
    with torch.no_grad():
        style = model.encoder(x)
        p = torch.sigmoid(model.decoder(torch.cat([style[:4], torch.eye(4)], 1)).double())
        known = x[:4]
        wanted = -(known * p.log() + (1 - known) * (1 - p).log()).sum((1, 2, 3)).mean()
        loss = labelled_reconstruction_loss(model, Batch(x, labels), Draw(0))[0]
        fits = [
            model.decode(torch.cat([style, torch.eye(4)[k].expand(6, 4)], 1)).log_prob(x)
            for k in range(4)
        ]
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=0)
    best = torch.stack(fits).sum((2, 3, 4)).argmax(0)
    assert torch.equal(best, model.encode(x).mean[:, 2:].argmax(1))
    unlabelled = Batch(x, torch.full((6,), -1))
    assert float(labelled_reconstruction_loss(model, unlabelled, Draw(0))[0].detach()) == 0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="num_classes"):
        StyleAAEConfig(style_dim=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="num_classes must be >= 2"):
        StyleAAEConfig(style_dim=2, num_classes=1)
    with pytest.raises(ValueError, match="needs a divergence with a critic"):
        StyleAAEConfig(style_dim=2, num_classes=3, divergence=MMD())
