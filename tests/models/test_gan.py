"""GAN, f-GAN, LSGAN, WGAN, WGAN-GP and GMMN."""

from typing import Any

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.divergences.f_divergence import FUNCTIONS, FDivergence
from genae_core.divergences.least_squares import LeastSquares
from genae_core.divergences.mmd import MMD
from genae_core.divergences.wasserstein import Wasserstein
from genae_core.models.base import Batch
from genae_core.models.gan import GANConfig
from genae_core.models.image_generator import critic_like
from genae_core.models.optimizers import RMSPropConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.uniform import UniformPriorConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images

NET = MLPConfig(widths=(32,))
CRITIC = MLPConfig(widths=(16,), activation="leaky_relu", batch_norm=False)


class TestGAN(ModelContract):
    config = GANConfig(latent_dim=3, net=NET, critic=CRITIC)


class TestSaturatingGAN(ModelContract):
    config = GANConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=FDivergence(saturating=True), average=0.9
    )


class TestLSGAN(ModelContract):
    config = GANConfig(latent_dim=3, net=NET, critic=CRITIC, divergence=LeastSquares())


class TestWGAN(ModelContract):
    without_gradient = ("critic.net.1.2.bias",)
    config = GANConfig(
        latent_dim=3,
        net=NET,
        critic=CRITIC,
        divergence=Wasserstein(constraint="clip", critic_steps=2),
        optimizer=RMSPropConfig(learning_rate=1e-3),
    )


class TestWGANGP(ModelContract):
    without_gradient = ("critic.net.1.2.bias",)
    config = GANConfig(
        latent_dim=3, net=NET, critic=CRITIC, divergence=Wasserstein(critic_steps=2)
    )


class TestGMMN(ModelContract):
    config = GANConfig(
        latent_dim=3,
        net=NET,
        divergence=MMD(kernel="rbf", estimator="biased", root=True),
        prior=UniformPriorConfig(),
    )


@pytest.mark.slow
class TestConvolutional(ModelContract):
    shape = (3, 32, 32)
    without_gradient = ("critic.net.6.bias",)
    config = GANConfig(
        latent_dim=4,
        net=DCGANConfig(width=4),
        critic=DCGANConfig(width=4, activation="leaky_relu", batch_norm=False),
        divergence=Wasserstein(critic_steps=1),
    )


def test_a_gradient_penalty_refuses_batch_normalisation_in_the_critic() -> None:
    with pytest.raises(ValueError, match="no batch normalisation: set critic.batch_norm to False"):
        GANConfig(latent_dim=2, critic=MLPConfig(), divergence=Wasserstein())
    with pytest.raises(ValueError, match="no batch normalisation"):
        GANConfig(latent_dim=2, critic=DCGANConfig(), divergence=Wasserstein())
    GANConfig(latent_dim=2, critic=DCGANConfig(), divergence=Wasserstein(constraint="clip"))


@pytest.mark.parametrize("average", [-0.1, 1.0])
def test_an_average_out_of_range_is_refused(average: float) -> None:
    with pytest.raises(ValueError, match=r"average must be in \[0, 1\)"):
        GANConfig(latent_dim=2, average=average)


def test_the_divergence_names_the_family() -> None:
    names = {
        FDivergence(): "GAN",
        FDivergence(saturating=True): "GAN (saturating)",
        FDivergence(kind="reverse_kl"): "f-GAN (reverse kl)",
        LeastSquares(): "LSGAN",
        Wasserstein(constraint="clip"): "WGAN",
        Wasserstein(): "WGAN-GP",
        MMD(): "GMMN",
    }
    for divergence, name in names.items():
        assert GANConfig(latent_dim=2, divergence=divergence).family == name


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_the_losses_are_the_bound_on_generated_and_real_images(kind: Any) -> None:
    """The critic minimises -(E_p[T(x)] - E_q[f*(T(x))]), and the generator -E_q[T(x)], for
    T = g_f(v(x)) and images x = sigmoid(g(z)), written out with f* itself."""
    config = GANConfig(latent_dim=3, net=NET, critic=CRITIC, divergence=FDivergence(kind=kind))
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    x = images(12, (1, 8, 8))
    batch = Batch(x, torch.full((12,), -1))
    critic, generator = model.stages()[0].phases
    functions = FUNCTIONS[kind]
    with torch.no_grad():
        made = torch.sigmoid(model.generator(Draw(5).normal((12, 3))))
        real_t, made_t = (functions.activation(model.critic.net(y)[:, 0]) for y in (x, made))
        bound = real_t.mean() - functions.conjugate(made_t).mean()
        critic_loss, _ = critic.loss(model, batch, Draw(5))
        generator_loss, _ = generator.loss(model, batch, Draw(5))
    assert float(critic_loss) == pytest.approx(-float(bound), rel=1e-4)
    assert float(generator_loss) == pytest.approx(-float(made_t.mean()), rel=1e-4)


def test_the_penalty_is_on_the_gradient_of_each_image() -> None:
    """A critic v(x) = <w, x> has the gradient w everywhere: 10 (|w| - 1)^2."""
    w = Draw(0).normal((1, 8, 8))
    real, made = images(6, (1, 8, 8)), images(6, (1, 8, 8)).flip(0)
    loss = Wasserstein().critic_loss(lambda x: (x * w).sum((1, 2, 3)), real, made, Draw(1))
    gain = ((made - real) * w).sum((1, 2, 3)).mean()
    assert float(loss) == pytest.approx(float(gain + 10 * (w.norm() - 1) ** 2), rel=1e-5)


def test_clipped_weights_stay_clipped() -> None:
    config = GANConfig(
        latent_dim=3,
        net=NET,
        critic=CRITIC,
        divergence=Wasserstein(constraint="clip", clip=0.02, critic_steps=1),
        optimizer=RMSPropConfig(learning_rate=0.1),
    )
    helpers = TestWGAN()
    helpers.config = config
    model = helpers.build()
    helpers.train(model, model.stages(), 1)
    critic: Any = model.critic
    largest = max(float(weight.detach().abs().max()) for weight in critic.parameters())
    assert largest == pytest.approx(0.02)


def test_samples_are_drawn_with_the_averaged_weights() -> None:
    """The average after each step is 0.9 of the former one and 0.1 of the new weights."""
    helpers = TestSaturatingGAN()
    model: Any = helpers.build()
    weight = dict(model.generator.named_parameters())["0.0.weight"]
    expected = weight.detach().clone()
    stage = model.stages()[0]
    original = stage.phases[-1].project
    assert original is not None

    def project(trained: Any) -> None:
        expected.mul_(0.9).add_(0.1 * weight.detach())
        original(trained)

    watched = stage._replace(
        phases=(*stage.phases[:-1], stage.phases[-1]._replace(project=project))
    )
    helpers.train(model, (watched,), 2)
    assert torch.allclose(dict(model.average.named_buffers())["0_0_weight"], expected, atol=1e-6)
    z = Draw(0).normal((4, 3))
    averaged = model.decode(z).mean
    with torch.no_grad():
        weight.add_(1.0)  # the samples do not depend on the weights themselves any more
    assert torch.equal(model.decode(z).mean, averaged)


def test_a_critic_of_the_same_kind_is_made_for_known_networks_only() -> None:
    class Own:
        pass

    assert critic_like(MLPConfig(widths=(7,))) == MLPConfig(
        widths=(7,), activation="leaky_relu", batch_norm=False
    )
    with pytest.raises(ValueError, match="only an MLP and a DCGAN have a critic of the same kind"):
        critic_like(Own())  # type: ignore[arg-type]
