import pytest
import torch

from genae_core.distributions.base import Normal
from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import run_chain
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy, images


class TestReconstruction(SamplerContract):
    sampler = Reconstruction()
    starts = ("images",)


def test_every_step_encodes_the_same_images_anew() -> None:
    model, x, draw = Toy(), images(5), Draw(0)
    by_hand = Draw(0)
    with sampling_mode(model, "running"):
        chain = Reconstruction().init(model, x, draw)
        for _ in range(3):
            z = model.encode(model.corrupt(x, by_hand)).sample(by_hand)
            assert torch.equal(chain.z, z)
            chain = Reconstruction().step(model, chain, draw)


def test_each_chain_has_its_own_image() -> None:
    """Without noise in the encoding, chain i is the reconstruction of image i."""
    model, x = _Sharp(noise=0.0), images(12, patterns=12)
    config = ChainConfig(
        sampler=Reconstruction(), record=(0, 2), sub_batch=4, batch_norm="running"
    )
    model.eval()
    for record in run_chain(model, config, 10, x):
        last = record.first + len(record.chain.z)
        torch.testing.assert_close(record.chain.z, model.encode(x).mean[record.first : last])


def test_missing_images_are_refused() -> None:
    config = ChainConfig(sampler=Reconstruction(), record=(0, 1), sub_batch=4)
    for start, count in ((None, 0), (images(7), 7)):
        with pytest.raises(ValueError, match=f"needs 8 images to start from, got images={count}"):
            list(run_chain(Toy(), config, 5, start))
    assert len(list(run_chain(Toy(), config, 5, images(8)))) == 4


class _Sharp(Toy):
    """Encodes to a point, up to exp(-20) of noise."""

    def encode(self, x: torch.Tensor) -> Normal:
        distribution = super().encode(x)
        distribution.log_var = torch.full_like(distribution.mean, -40.0)
        return distribution
