"""A part of a user's own that lacks something is refused when the experiment is made."""

import dataclasses
from typing import Any

import pytest

from genae_core.config import check_readable, register
from genae_core.data.digits import DigitsConfig
from genae_core.models.vae import VAEConfig
from genae_core.samplers.config import ChainConfig
from genae_core.testing import tiny


@dataclasses.dataclass(frozen=True)
class NoBuild:
    """A prior that is none."""

    sd: float = 1.0


@dataclasses.dataclass
class Thawed:
    """A dataset that is not frozen."""

    name: str = "thawed"


class Plain:
    """A sampler that is no dataclass."""

    couples = True


def test_a_prior_without_a_method_is_refused() -> None:
    prior: Any = NoBuild()
    model = VAEConfig(latent_dim=2, prior=prior)
    with pytest.raises(ValueError, match="VAEConfig.prior: NoBuild has no .*build.*PriorConfig"):
        dataclasses.replace(tiny.experiment(), model=model)


def test_a_dataset_that_is_not_frozen_is_refused() -> None:
    data: Any = Thawed()
    with pytest.raises(ValueError, match=r"Experiment.data: Thawed must be a frozen dataclass"):
        dataclasses.replace(tiny.experiment(), data=data)


def test_a_sampler_without_its_step_is_refused() -> None:
    sampler: Any = Plain()
    with pytest.raises(ValueError, match="ChainConfig.sampler: Plain has no init, .*step"):
        ChainConfig(sampler=sampler)


def test_what_a_file_cannot_hold_is_refused() -> None:
    @register("test.listed")
    @dataclasses.dataclass(frozen=True)
    class Listed:
        widths: Any = ()
        count: int = 1

    check_readable(Listed((1, 2)))
    with pytest.raises(ValueError, match="Listed: a config holds primitives, tuples and configs"):
        check_readable(Listed([1, 2]))
    wrong: Any = "three"
    with pytest.raises(ValueError, match="count must be int, got count='three'"):
        check_readable(Listed((), wrong))
    with pytest.raises(ValueError, match=r"NoBuild has no name on disk.*@genae_core.register"):
        check_readable(Listed((NoBuild(),)))


def test_what_is_complete_passes() -> None:
    check_readable(tiny.experiment())
    assert tiny.experiment().data == DigitsConfig()
