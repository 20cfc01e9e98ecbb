"""How networks compute: the same function in another layout, nearly the same in bfloat16."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch
from genae_core.models.vae import VAE, VAEConfig
from genae_core.nets.base import ComputeConfig, NetConfig, Shape, compute_as
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import GeneratorConfig, MLPConfig

BF16 = ComputeConfig(precision="bf16")
LAST = ComputeConfig(channels_last=True)
NETS: dict[str, tuple[NetConfig, Shape]] = {
    "mlp": (MLPConfig(widths=(16,)), (1, 8, 8)),
    "dcgan": (DCGANConfig(width=4), (3, 32, 32)),
}


def model_of(name: str, compute: ComputeConfig) -> VAE:
    net, shape = NETS[name]
    with Draw(0).as_global():
        model = VAEConfig(latent_dim=3, net=net).build(shape)
    compute_as(model, compute)
    return model


def step(model: VAE, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """A loss and its gradients."""
    draw = Draw(1)
    x = draw.uniform((8, *NETS[name][1]))
    loss, _ = model.stages()[0].phases[0].loss(model, Batch(x, torch.zeros(8)), draw)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss, {key: p.grad for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NETS)
def test_the_layout_changes_no_value(name: str) -> None:
    (plain, gradients), (last, others) = (
        step(model_of(name, compute), name) for compute in (ComputeConfig(), LAST)
    )
    torch.testing.assert_close(last, plain)
    assert gradients.keys() == others.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, rtol=1e-4, atol=1e-4)


def test_convolutions_see_the_layout_and_weights_are_saved_under_the_same_names() -> None:
    model = model_of("dcgan", LAST)
    layer_inputs: list[Tensor] = []

    def look(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        layer_inputs.append(inputs[0])

    for layer in (*model.encoder[:3], *model.decoder[4:6]):  # type: ignore[index]
        layer.register_forward_pre_hook(look)
    model.decode(model.encode(Draw(0).uniform((4, 3, 32, 32))).mean)
    assert len(layer_inputs) == 5
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in layer_inputs)
    assert model.state_dict().keys() == model_of("dcgan", ComputeConfig()).state_dict().keys()


@pytest.mark.parametrize("name", NETS)
def test_bfloat16_is_of_the_layers_alone(name: str) -> None:
    model = model_of(name, BF16)
    inside: list[torch.dtype] = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: inside.append(out.dtype))
    loss, gradients = step(model, name)
    assert set(inside) == {torch.bfloat16}
    assert loss.dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in gradients.values())
    plain, _ = step(model_of(name, ComputeConfig()), name)
    torch.testing.assert_close(loss, plain, rtol=0.01, atol=0.0)
    assert not torch.equal(loss, plain)


def test_float64_stays_float64() -> None:
    net = GeneratorConfig(widths=(4,)).build(2).double()
    assert net(torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"channels_last": 1}])
def test_what_it_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"got {next(iter(wrong))}="):
        ComputeConfig(**wrong)
