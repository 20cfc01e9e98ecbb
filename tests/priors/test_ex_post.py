import pytest
import torch

from genae_core.config import from_json, to_json
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples, encode_all
from genae_core.priors.ex_post import ExPostMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.loop import run_chain
from genae_core.testing.toys import Toy, images


def _codes() -> torch.Tensor:
    z = Draw(0).normal((4_000, 2))
    turned = z @ torch.tensor([[1.0, 0.5], [0.0, 0.3]]) + torch.tensor([4.0, 0.0])
    return torch.where(Draw(1).uniform((4_000, 1)) < 0.25, turned, z - 3)


def test_it_finds_the_mixture_that_made_the_codes() -> None:
    fitted_prior = ExPostMixture(components=2).fit(_codes(), Draw(2))
    order = fitted_prior.means[:, 0].argsort()
    torch.testing.assert_close(
        fitted_prior.weights[order], torch.tensor([0.75, 0.25]), rtol=0, atol=0.03
    )
    wanted = torch.tensor([[-3.0, -3.0], [4.0, 0.0]])
    torch.testing.assert_close(fitted_prior.means[order], wanted, rtol=0, atol=0.15)
    turn = torch.tensor([[1.0, 0.5], [0.0, 0.3]])
    factor = fitted_prior.factors[order[1]]
    torch.testing.assert_close(factor @ factor.T, turn.T @ turn, rtol=0, atol=0.15)


def test_a_seed_gives_the_same_law() -> None:
    one, again = (ExPostMixture(components=3).fit(_codes(), Draw(2)) for _ in range(2))
    for name, part in one.state_dict().items():
        assert torch.equal(part, again.state_dict()[name])


def test_one_gaussian_has_the_codes_moments() -> None:
    codes = _codes()
    fitted_prior = ExPostMixture(components=1).fit(codes, Draw(0))
    torch.testing.assert_close(fitted_prior.mean, codes.mean(0), rtol=0, atol=1e-4)
    covariance = fitted_prior.factors[0] @ fitted_prior.factors[0].T
    torch.testing.assert_close(covariance, codes.T.cov(correction=0), rtol=1e-3, atol=1e-3)


def test_chains_start_from_it_and_the_metrics_see_the_model() -> None:
    model = Toy().eval()
    x = images(40)
    examples = Examples(40, lambda index: Batch(x[index], torch.zeros(len(index))))
    fitted_prior = ExPostMixture(components=1).fit(encode_all(model, examples), Draw(0))
    for sampler in (Ancestral(), EncodeDecode()):
        config = ChainConfig(
            sampler=sampler, record=(0, 1), sub_batch=500, fitted_prior=ExPostMixture()
        )
        first, *_ = run_chain(model, config, 500, fitted_prior=fitted_prior)
        assert float((first.chain.z.mean(0) - fitted_prior.mean).norm()) < 0.3
        with pytest.raises(ValueError, match="needs fitted_prior if the config has one"):
            list(run_chain(model, config, 500))
    assert from_json(to_json(config)) == config


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="components"):
        ExPostMixture(components=0)
    with pytest.raises(ValueError, match="needs at least 4 codes, got codes=3"):
        ExPostMixture(components=4).fit(torch.zeros(3, 2), Draw(0))
