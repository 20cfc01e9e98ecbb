from typing import Any

import pytest
import torch
from torch import nn

from genae_core.distributions.rng import Draw
from genae_core.nets.mlp import CriticConfig, MLPConfig

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: tuple[int, int, int]) -> None:
    net = MLPConfig(widths=(8, 6))
    with Draw(0).as_global():
        encoder, decoder = net.build_encoder(shape, 5), net.build_decoder(5, shape)
    out = encoder(Draw(0).uniform((3, *shape)))
    assert out.shape == (3, 5)
    assert decoder(out).shape == (3, *shape)


@pytest.mark.parametrize(("name", "kind"), [("elu", nn.ELU), ("relu", nn.ReLU)])
def test_the_layers_of_both_bodies(name: str, kind: type[nn.Module]) -> None:
    net = MLPConfig(widths=(8, 6), activation=name)  # type: ignore[arg-type]
    block = [nn.Linear, nn.BatchNorm1d, kind]
    encoder, decoder = net.build_encoder((1, 4, 4), 5), net.build_decoder(5, (1, 4, 4))
    assert _kinds(encoder) == [nn.Flatten, *block, *block, nn.Linear]
    assert _kinds(decoder) == [*block, *block, nn.Linear, nn.Unflatten]
    sizes = [
        (m.in_features, m.out_features)
        for body in (encoder, decoder)
        for m in body.modules()
        if isinstance(m, nn.Linear)
    ]
    assert sizes == [(16, 8), (8, 6), (6, 5), (5, 8), (8, 6), (6, 16)]


def test_the_top_has_no_activation() -> None:
    """Outputs of both signs, above 1 in size when their weights are large."""
    net = MLPConfig(widths=(8,))
    with Draw(0).as_global():
        bodies = [net.build_encoder((1, 4, 4), 5), net.build_decoder(16, (1, 4, 4))]
    for body, x in zip(
        bodies, (Draw(0).normal((9, 1, 4, 4)), Draw(0).normal((9, 16))), strict=True
    ):
        top = [m for m in body.modules() if isinstance(m, nn.Linear)][-1]
        with torch.no_grad():
            top.weight *= 100
        out = body(x)
        assert out.min() < -1 and out.max() > 1


def test_the_critic() -> None:
    with Draw(0).as_global():
        critic = CriticConfig(widths=(7, 6)).build(3)
    assert critic(Draw(0).normal((4, 3)), Draw(0)).shape == (4,)
    assert [m.out_features for m in critic.hidden] == [7, 6]  # type: ignore[union-attr]


def test_dropout_keeps_the_mean_of_a_layer() -> None:
    """One hidden layer and a linear top: the mean over masks is the value without dropout."""
    with Draw(0).as_global():
        critic = CriticConfig(widths=(16,), dropout=0.5).build(3)
    z, n = Draw(0).normal((1, 3)), 20_000
    with torch.no_grad():
        critic.train()
        logits = critic(z.expand(n, 3), Draw(1)).double()
        critic.eval()
        wanted = float(critic(z, Draw(1)))
    # 5 standard errors of the mean over independent masks.
    assert float(logits.std()) > 0
    assert abs(float(logits.mean()) - wanted) < 5 * float(logits.std()) / n**0.5


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (MLPConfig, {"widths": ()}, "widths must name"),
        (MLPConfig, {"widths": (8, 0)}, "width must be"),
        (MLPConfig, {"activation": "tanh"}, "activation must be one of elu, relu"),
        (CriticConfig, {"widths": ()}, "widths must name"),
        (CriticConfig, {"widths": (8.0,)}, "width must be"),
        (CriticConfig, {"dropout": 1.0}, "dropout must be"),
        (CriticConfig, {"dropout": -0.1}, "dropout must be"),
        (CriticConfig, {"slope": float("nan")}, "slope must be"),
    ],
)
def test_a_config_out_of_range_is_refused(
    config: type, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


def _kinds(body: nn.Module) -> list[type]:
    return [type(m) for m in body.modules() if not isinstance(m, nn.Sequential)]
