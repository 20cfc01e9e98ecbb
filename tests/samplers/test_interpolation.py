import math

import pytest
import torch

from genae_core.distributions.rng import Draw
from genae_core.models.vae import VAEConfig
from genae_core.nets.base import sampling_mode
from genae_core.nets.mlp import MLPConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.interpolation import interpolate, slerp
from genae_core.samplers.loop import run_chain
from genae_core.testing.toys import Toy, images


def test_a_spherical_path_turns_evenly() -> None:
    """Unit vectors stay on the sphere, each at its share of the angle to the first."""
    first, second = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[-0.6, 0.8, 0.0]])
    share = torch.linspace(0, 1, 7)[:, None]
    path = slerp(first[:, None], second[:, None], share)[0]
    torch.testing.assert_close(path.norm(dim=1), torch.ones(7))
    angle = math.acos(-0.6)
    torch.testing.assert_close(
        path[:, 0].clamp(-1, 1).acos(), share[:, 0] * angle, rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_along_one_line_it_is_straight(sign: float) -> None:
    first = torch.tensor([[3.0, 4.0]])
    path = slerp(first[:, None], sign * 2 * first[:, None], torch.tensor([[0.0], [0.5], [1.0]]))
    torch.testing.assert_close(path[0, 1], (0.5 + sign) * first[0])


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_the_ends_are_the_encodings_and_the_chain_starts_there(kind: str) -> None:
    model = Toy(noise=0.0).eval()
    pairs = images(6).reshape(2, 3, 1, 3, 4)
    z = interpolate(model, pairs, 5, Draw(0), kind)  # type: ignore[arg-type]
    with sampling_mode(model, "running"):
        draw = Draw(0)
        first, second = (model.encode(x).sample(draw) for x in pairs)
    assert z.shape == (3, 5, 2)
    torch.testing.assert_close(z[:, 0], first)
    torch.testing.assert_close(z[:, -1], second)
    if kind == "linear":
        torch.testing.assert_close(z[:, 2], (first + second) / 2)
    config = ChainConfig(sampler=EncodeDecode(), record=(0, 1), sub_batch=4, batch_norm="running")
    records = list(run_chain(model, config, 15, start=z.flatten(0, 1)))
    started = torch.cat([r.chain.z for r in records if r.step == 0])
    torch.testing.assert_close(started, z.flatten(0, 1))
    moved = torch.cat([r.chain.z for r in records if r.step == 1])
    assert moved.shape == (15, 2) and (moved != started).any()


def test_bad_input_is_refused() -> None:
    model, pairs = Toy(), images(6).reshape(2, 3, 1, 3, 4)
    with pytest.raises(ValueError, match="images must be pairs"):
        interpolate(model, images(6), 5, Draw(0))
    with pytest.raises(ValueError, match=r"of the model's shape, \[1, 3, 4\], got .*1, 4, 3\]"):
        interpolate(model, pairs.mT, 5, Draw(0))
    with pytest.raises(ValueError, match="points must be >= 2, with both ends, got points=1"):
        interpolate(model, pairs, 1, Draw(0))
    with pytest.raises(ValueError, match="kind must be"):
        interpolate(model, pairs, 3, Draw(0), "cubic")  # type: ignore[arg-type]
    config = ChainConfig(sampler=EncodeDecode())
    with pytest.raises(
        ValueError, match=r"start must be 4 codes of latent dimension 2, .*got shape"
    ):
        list(run_chain(model, config, 4, start=torch.zeros(4, 3)))


def test_the_model_is_left_as_it_was() -> None:
    with Draw(0).as_global():
        model = VAEConfig(latent_dim=2, net=MLPConfig(widths=(8,), dropout=0.5)).build((1, 3, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pairs = images(6).reshape(2, 3, 1, 3, 4)
    z = interpolate(model, pairs, 5, Draw(0))
    assert not z.requires_grad and model.training
    torch.testing.assert_close(interpolate(model, pairs, 5, Draw(0)), z)  # without dropout
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
