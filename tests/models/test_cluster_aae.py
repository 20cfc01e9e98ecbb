import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genae_core.config import from_json, to_json
from genae_core.config.serialize import identity
from genae_core.distributions.rng import Draw
from genae_core.divergences.mmd import MMD
from genae_core.models.ae import reconstruction_loss
from genae_core.models.base import Batch, Examples
from genae_core.models.cluster_aae import (
    ClusterAAE,
    ClusterAAEConfig,
    label_loss,
    reconstruction_and_heads,
)
from genae_core.models.labelled import BatchWithLabelled, pair_with_labelled
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.testing.model import ModelContract
from genae_core.testing.toys import images
from genae_core.training.config import TrainingConfig
from genae_core.training.loop import fit

NET, CRITIC = MLPConfig(widths=(32,)), CriticConfig(widths=(16,))


class TestClusterAAE(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, net=NET, critic=CRITIC)


class TestNoiseForTheCritic(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, cluster_noise=0.3, net=NET, critic=CRITIC)


class TestClusterHeads(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, code="head", net=NET, critic=CRITIC)


class TestClusterHeadsIn3D(ModelContract):
    size_field = "style_dim"
    noise = 0.3
    config = ClusterAAEConfig(
        style_dim=3, clusters=3, code="head", style_sd=0.5, noise=noise, net=NET, critic=CRITIC
    )


class TestLabels(ModelContract):
    size_field = "style_dim"
    config = ClusterAAEConfig(style_dim=2, clusters=4, labels=True, net=NET, critic=CRITIC)


class TestClusterHeadsWithLabels(ModelContract):
    size_field = "style_dim"
    noise = 0.3
    config = ClusterAAEConfig(
        style_dim=2, clusters=4, code="head", labels=True, noise=noise, net=NET, critic=CRITIC
    )


def toy_examples(count: int, labelled: list[int]) -> Examples:
    """Toy images of four classes, of which the images in these rows have labels."""
    x, classes = images(count, (1, 8, 8)), torch.arange(count) % 4
    labels = torch.full((count,), -1)
    labels[labelled] = classes[labelled]

    def batch(index: np.ndarray) -> Batch:
        rows = torch.from_numpy(index)
        return Batch(x[rows], labels[rows])

    return Examples(count, batch)


def test_every_batch_has_as_many_labelled_images_as_images() -> None:
    """Of 600 images, 7, 9 and 501 have labels: the image i comes with the one number i mod 3."""
    examples = toy_examples(600, [7, 9, 501])
    draw = Draw(0)
    before = draw.generator.get_state()
    paired = pair_with_labelled(None, examples, draw)
    assert torch.equal(draw.generator.get_state(), before) and paired.count == 600
    index = np.array([4, 599, 3, 0, 7])
    batch, plain = paired.batch(index), examples.batch(index)
    assert torch.equal(batch.x, plain.x) and torch.equal(batch.labels, plain.labels)
    assert batch.labels.tolist() == [-1, -1, -1, -1, 3]
    expected = examples.batch(np.array([9, 501, 7, 7, 9]))
    assert torch.equal(batch.labelled.x, expected.x)
    assert batch.labelled.labels.tolist() == [1, 1, 3, 3, 1]


def test_with_all_labels_each_image_comes_with_itself() -> None:
    paired = pair_with_labelled(None, toy_examples(8, list(range(8))), Draw(0))
    batch = paired.batch(np.array([5, 0, 2]))
    assert torch.equal(batch.labelled.x, batch.x)
    assert torch.equal(batch.labelled.labels, batch.labels)


def test_a_training_with_labels_needs_labels() -> None:
    with pytest.raises(ValueError, match="needs images whose class is known, got labelled=0"):
        pair_with_labelled(None, toy_examples(8, []), Draw(0))


def test_the_loss_of_the_labels_is_minus_the_log_of_the_right_y() -> None:
    """Images without labels, and labels of the batch itself, have no part in it."""
    config = ClusterAAEConfig(style_dim=2, clusters=4, labels=True, net=NET, critic=CRITIC)
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    x, labels = images(3, (1, 8, 8)), torch.tensor([3, 0, 2])
    batch = BatchWithLabelled(torch.zeros(2, 1, 8, 8), torch.tensor([-1, 1]), Batch(x, labels))
    loss, terms = label_loss(model, batch, Draw(0))
    with torch.no_grad():
        _, y = model.parts(x)
    by_hand = -sum(math.log(float(row[k])) for row, k in zip(y, labels, strict=True)) / 3
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-5) and set(terms) == {"labels"}


def test_labels_of_few_images_name_the_classes_of_all() -> None:
    """Without labels the numbers of the clusters mean nothing; four labels fix them."""
    config = ClusterAAEConfig(style_dim=2, clusters=4, labels=True, net=NET, critic=CRITIC)
    draw = Draw(0)
    with draw.as_global():
        model = config.build((1, 8, 8))
    assert isinstance(model, ClusterAAE)
    training = TrainingConfig(epochs=20, batch_size=16)
    history = fit(model, model.stages(), toy_examples(64, [0, 1, 2, 3]), training, draw).history
    assert history[-1].terms["labels"] < 0.2 < history[0].terms["labels"]
    with torch.no_grad():
        _, y = model.parts(images(64, (1, 8, 8)))
    assert torch.equal(y.argmax(1), torch.arange(64) % 4)


def test_the_critic_of_the_clusters_gets_y_and_one_hot_vectors_with_equal_noise() -> None:
    config = ClusterAAEConfig(style_dim=2, clusters=4, cluster_noise=0.3, net=NET, critic=CRITIC)
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    received: list[torch.Tensor] = []

    def listen(module: nn.Module, inputs: tuple[torch.Tensor, Draw]) -> None:
        received.append(inputs[0].detach())

    model.cluster_critic.register_forward_pre_hook(listen)
    batch = Batch(images(4_000, (1, 8, 8)), torch.full((4_000,), -1))
    (stage,) = model.stages()
    loss_of_critic, loss_of_encoder = (stage.phases[number].loss for number in (2, 4))
    loss_of_critic(model, batch, Draw(1))
    loss_of_encoder(model, batch, Draw(2))
    target, *others = received
    one_hot = F.one_hot(target.argmax(1), 4)
    with torch.no_grad():
        _, y = model.parts(batch.x)
    # The largest component is nearly always that of the class: 1 is 3.3 standard deviations of
    # the noise from 0. The standard error of each standard deviation is 0.3 / sqrt(32,000).
    assert float((target - one_hot).std()) == pytest.approx(0.3, rel=0.02)
    assert len(others) == 2
    for codes in others:
        assert float((codes - y).std()) == pytest.approx(0.3, rel=0.03)


def test_a_config_without_labels_is_stored_as_before_there_were_any() -> None:
    """The field would change the keys of the runs that earlier versions stored."""
    config = ClusterAAEConfig(style_dim=2, clusters=4)
    for name in ("labels", "cluster_noise", "label_optimizer"):
        assert name not in json.loads(to_json(config)) and name not in identity(config)
    assert from_json(to_json(config)).labels is False and config.num_classes == 0
    labelled = ClusterAAEConfig(style_dim=2, clusters=4, labels=True)
    assert identity(labelled)["labels"] is True and labelled.num_classes == 4
    assert [c.family for c in (config, labelled)] == ["cluster AAE", "cluster AAE (labels)"]


def test_the_labels_may_have_an_optimiser_of_their_own() -> None:
    own, other = AdamConfig(learning_rate=2e-3), AdamConfig(learning_rate=5e-4)
    for label_optimizer in (own, None):
        config = ClusterAAEConfig(
            style_dim=2,
            clusters=10,
            labels=True,
            net=NET,
            critic=CRITIC,
            optimizer=other,
            label_optimizer=label_optimizer,
        )
        (stage,) = config.build((1, 8, 8)).stages()
        by_name = {phase.player.name: phase.player.optimizer for phase in stage.phases}
        assert by_name["autoencoder"] == other
        assert by_name["classifier"] == (label_optimizer or other)


def test_the_code_is_style_and_cluster() -> None:
    x = images(5, (1, 8, 8))
    for code in ("beside", "head"):
        config = ClusterAAEConfig(style_dim=2, clusters=4, code=code, net=NET, critic=CRITIC)  # type: ignore[arg-type]
        with Draw(0).as_global():
            model = config.build((1, 8, 8)).eval()
        with torch.no_grad():
            style, y = model.parts(x)
            z = model.encode(x).mean
        torch.testing.assert_close(y.sum(1), torch.ones(5))
        if model.heads is None:
            assert torch.equal(z, torch.cat([style, y], 1))
        else:
            torch.testing.assert_close(z, style + (model.heads.T @ y.T).T)


def test_the_prior_of_the_heads_is_their_mixture() -> None:
    config = ClusterAAEConfig(style_dim=2, clusters=3, code="head", style_sd=0.5)
    with Draw(0).as_global():
        model = config.build((1, 8, 8))
    assert model.heads is not None
    prior = model.latent_prior()
    z = prior.sample(Draw(1), (20_000,))
    heads = model.heads.detach()
    nearest = torch.cdist(z, heads).min(1).values
    # |N(0, 0.25 I)| in the plane has mean square 0.5, where the heads are far apart.
    assert torch.pdist(heads).min() > 2
    assert float(nearest.square().mean()) == pytest.approx(0.5, rel=0.05)


def test_near_heads_are_pushed_apart() -> None:
    config = ClusterAAEConfig(
        style_dim=2, clusters=3, code="head", head_distance=2.0, net=NET, critic=CRITIC
    )
    with Draw(0).as_global():
        model = config.build((1, 8, 8)).eval()
    assert model.heads is not None
    with torch.no_grad():
        model.heads.copy_(torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 5.0]]))
    batch = Batch(images(4, (1, 8, 8)), torch.full((4,), -1))
    loss, terms = reconstruction_and_heads(model, batch, Draw(0))
    plain, _ = reconstruction_loss(model, batch, Draw(0))
    assert float(terms["crowding"].detach()) == pytest.approx(0.5)
    assert float((loss - plain).detach()) == pytest.approx(0.5, rel=1e-4)
    (gradient,) = torch.autograd.grad(terms["crowding"], model.heads)
    assert gradient[0].tolist() == pytest.approx([1, 0]) and gradient[2].norm() == 0
    assert math.isfinite(float(gradient.sum()))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="clusters must be >= 2"):
        ClusterAAEConfig(style_dim=2, clusters=1)
    with pytest.raises(ValueError, match='code must be "beside" or "head"'):
        ClusterAAEConfig(style_dim=2, clusters=3, code="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cluster_noise must be a finite number >= 0"):
        ClusterAAEConfig(style_dim=2, clusters=3, cluster_noise=-0.1)
    with pytest.raises(ValueError, match="labels must be True or False"):
        ClusterAAEConfig(style_dim=2, clusters=3, labels=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a divergence with a critic"):
        ClusterAAEConfig(style_dim=2, clusters=3, divergence=MMD())
