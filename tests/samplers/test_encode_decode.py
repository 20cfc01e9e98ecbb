import torch

from genae_core.distributions.rng import Draw
from genae_core.nets.base import sampling_mode
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.testing.sampler import SamplerContract
from genae_core.testing.toys import Toy


class TestEncodeDecode(SamplerContract):
    sampler = EncodeDecode()


class TestEncodeDecodeWithoutCorruption(SamplerContract):
    sampler = EncodeDecode(corrupt=False)


def test_a_step_is_its_equation() -> None:
    """z' ~ q(z | x~), x~ ~ C(x~ | x), x the decoded image of the chain; equations 1 and 2."""
    model = Toy(noise=0.3)
    with sampling_mode(model, "running"):
        for corrupt in (False, True):
            sampler = EncodeDecode(corrupt=corrupt)
            chain = sampler.init(model, 5, Draw(0))
            by_hand = Draw(1)
            encoded = model.decode(chain.z).mean
            if corrupt:
                encoded = encoded + 0.3 * by_hand.normal(tuple(encoded.shape))
            z = model.encode(encoded).sample(by_hand)
            assert torch.equal(sampler.step(model, chain, Draw(1)).z, z)


def test_corruption_is_the_models_own() -> None:
    """A model without noise walks the same chain with corruption on and off."""
    model = Toy(noise=0.0)
    with sampling_mode(model, "running"):
        chain = EncodeDecode().init(model, 5, Draw(0))
        with_it = EncodeDecode(corrupt=True).step(model, chain, Draw(1))
        without = EncodeDecode(corrupt=False).step(model, chain, Draw(1))
    assert torch.equal(with_it.z, without.z)
