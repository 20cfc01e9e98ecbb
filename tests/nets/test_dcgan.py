import math
from typing import Literal

import pytest
import torch
from torch import nn

from genae_core.config import to_dict
from genae_core.distributions.rng import Draw
from genae_core.nets.dcgan import DCGANConfig

SIDES = (8, 16, 24, 28, 32, 40, 48, 56, 64, 72, 128)


@pytest.mark.parametrize(
    "shape", [(channels, side, side) for side in SIDES for channels in (1, 3)]
)
def test_shapes(shape: tuple[int, int, int]) -> None:
    net = DCGANConfig(width=2)
    with Draw(0).as_global():
        encoder, decoder = net.build_encoder(shape, 5), net.build_decoder(5, shape)
    out = encoder(Draw(0).uniform((3, *shape)))
    assert out.shape == (3, 5)
    assert decoder(out).shape == (3, *shape)


def test_the_default_at_64_px_has_the_papers_features() -> None:
    """M = 8192 = 512 x 4 x 4 inputs of the encoder's top layer (appendix A)."""
    with torch.device("meta"):
        encoder = DCGANConfig().build_encoder((3, 64, 64), 200)
        decoder = DCGANConfig().build_decoder(200, (3, 64, 64))
        below = encoder[:-2](torch.empty(2, 3, 64, 64))  # type: ignore[index]
        above = decoder[:2](torch.empty(2, 200))  # type: ignore[index]
    assert below.shape == above.shape == (2, 512, 4, 4)
    assert below[0].numel() == 8192


@pytest.mark.parametrize(("side", "halvings"), [(28, 2), (32, 3), (64, 4), (72, 3), (128, 5)])
def test_the_order_of_the_layers(side: int, halvings: int) -> None:
    """Every convolution but the top ones is normalised; those have no bias to be cancelled."""
    net, shape = DCGANConfig(width=2), (3, side, side)
    encoder, decoder = net.build_encoder(shape, 5), net.build_decoder(5, shape)
    down = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * halvings
    up = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * halvings
    assert [type(m) for m in encoder.children()] == [*down, nn.Conv2d, nn.Flatten]
    assert [type(m) for m in decoder.children()] == [nn.Unflatten, *up, nn.ConvTranspose2d]
    for body in (encoder, decoder):
        convolutions = [m for m in body.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert all(m.bias is None for m in convolutions[:-1])
        assert convolutions[-1].bias is not None
    widths = [m.num_features for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert widths == [2 * 2**level for level in range(halvings)]
    assert widths[::-1] == [
        m.num_features for m in decoder.modules() if isinstance(m, nn.BatchNorm2d)
    ]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "gated"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_shapes_of_other_layers(
    batch_norm: bool, activation: Literal["relu", "tanh", "gated"], blocks: int
) -> None:
    net = DCGANConfig(
        width=3, batch_norm=batch_norm, activation=activation, blocks=blocks, growth=1
    )
    encoder, decoder = net.build_encoder((1, 28, 28), 5), net.build_decoder(5, (1, 28, 28))
    assert decoder(encoder(torch.zeros(2, 1, 28, 28))).shape == (2, 1, 28, 28)
    # With growth=1 every layer has `width` channels.
    assert encoder[:-2](torch.zeros(2, 1, 28, 28)).shape == (2, 3, 7, 7)


def test_a_gate_multiplies_a_half_of_the_channels_by_the_sigmoid_of_the_other() -> None:
    encoder = DCGANConfig(width=1, activation="gated", batch_norm=False).build_encoder(
        (1, 8, 8), 1
    )
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    a, b = encoder[0](x).split(1, 1)
    torch.testing.assert_close(encoder[:2](x), a * torch.sigmoid(b))


def test_a_residual_block_adds_its_layers_to_its_input() -> None:
    encoder = DCGANConfig(width=2, blocks=1, batch_norm=False).build_encoder((1, 8, 8), 1)
    block = encoder[2]
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    first, _, second = block.children()
    torch.testing.assert_close(block(x), x + second(torch.relu(first(x))))


def test_the_new_settings_are_checked_and_leave_older_keys_alone() -> None:
    assert to_dict(DCGANConfig(width=2)) == to_dict(DCGANConfig(width=2, growth=2, blocks=0))
    assert not {"growth", "blocks"} & set(to_dict(DCGANConfig()))
    with pytest.raises(ValueError, match="blocks must be >= 0, got blocks=-1"):
        DCGANConfig(blocks=-1)
    with pytest.raises(ValueError, match="growth must be a whole number"):
        DCGANConfig(growth=0)


def test_weights_start_at_the_published_spread() -> None:
    with Draw(0).as_global():
        bodies = [
            DCGANConfig(width=16).build_encoder((3, 32, 32), 5),
            DCGANConfig(width=16).build_decoder(5, (3, 32, 32)),
        ]
    for kinds, mean in ((nn.Conv2d | nn.ConvTranspose2d, 0.0), (nn.BatchNorm2d, 1.0)):
        weights = torch.cat(
            [
                m.weight.detach().flatten()
                for body in bodies
                for m in body.modules()
                if isinstance(m, kinds)
            ]
        ).double()
        n = len(weights)
        # n draws of N(mean, 0.02^2): 5 standard errors of the mean and of the deviation.
        assert abs(float(weights.mean()) - mean) < 5 * 0.02 / math.sqrt(n)
        assert abs(float(weights.std()) - 0.02) < 5 * 0.02 / math.sqrt(2 * n)


@pytest.mark.parametrize("shape", [(1, 30, 30), (3, 4, 4), (3, 64, 32), (3, 36, 36)])
def test_images_of_another_size_are_refused(shape: tuple[int, int, int]) -> None:
    for build in (
        lambda: DCGANConfig().build_encoder(shape, 5),
        lambda: DCGANConfig().build_decoder(5, shape),
    ):
        with pytest.raises(ValueError, match="28 px or of a multiple of 8 px, got shape="):
            build()


@pytest.mark.parametrize("width", [0, -1, 2.0, True])
def test_a_width_out_of_range_is_refused(width: object) -> None:
    with pytest.raises(ValueError, match="width must be"):
        DCGANConfig(width=width)  # type: ignore[arg-type]
