"""The config of a user's own family: its defaults, and the errors if an attribute is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from genae_core.config import register
from genae_core.distributions.rng import Draw
from genae_core.experiment import Experiment
from genae_core.models.ae import AE, AEConfig
from genae_core.models.config import ModelConfig, check_model_config
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.nets.base import Shape
from genae_core.nets.mlp import MLPConfig
from genae_core.testing import tiny
from genae_core.training.checkpoint import load_model, save_model

SHAPE = (1, 8, 8)


def build(config: Any, shape: Shape) -> AE:
    return AE(AEConfig(latent_dim=config.latent_dim, net=MLPConfig(widths=(4,))), shape)


@register("test.models.plain_family")
@dataclass(frozen=True, kw_only=True)
class PlainFamilyConfig(ModelConfig):
    """A family that keeps all defaults."""

    latent_dim: int

    def build(self, shape: Shape) -> AE:
        return build(self, shape)


@dataclass(frozen=True, kw_only=True)
class OwnFamilyConfig(ModelConfig):
    """A family with fields in the place of the defaults."""

    family: str
    num_classes: int
    latent_dim: int = 2

    def build(self, shape: Shape) -> AE:
        return build(self, shape)


@dataclass(frozen=True, kw_only=True)
class UnregisteredConfig(PlainFamilyConfig):
    """A family without a name on disk."""


@dataclass(frozen=True, kw_only=True)
class WithoutDimensionConfig(ModelConfig):
    size: int = 3

    def build(self, shape: Shape) -> AE:
        raise AssertionError("not built")


@dataclass(frozen=True, kw_only=True)
class FreeStandingConfig:
    """A config that does not derive from ModelConfig."""

    latent_dim: int = 2


def test_the_defaults_are_the_name_of_the_class_and_no_classes() -> None:
    config = PlainFamilyConfig(latent_dim=3)
    check_model_config(config)
    assert (config.family, config.num_classes, config.latent_dim) == ("PlainFamily", 0, 3)
    with pytest.raises(TypeError, match="latent_dim"):
        PlainFamilyConfig()  # type: ignore[call-arg]


def test_fields_replace_the_defaults() -> None:
    config = OwnFamilyConfig(family="mine", num_classes=10)
    check_model_config(config)
    assert (config.family, config.num_classes) == ("mine", 10)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            WithoutDimensionConfig(),
            "WithoutDimensionConfig has no attribute 'latent_dim', the",
        ),
        (FreeStandingConfig(), "FreeStandingConfig has no attribute 'family', .*derive the class"),
        (PlainFamilyConfig(latent_dim=0), r"PlainFamilyConfig.latent_dim must be .*, got .*=0"),
        (OwnFamilyConfig(family="mine", num_classes=-1), "num_classes must be >= 0"),
        (OwnFamilyConfig(family="", num_classes=0), "OwnFamilyConfig.family must be a name"),
        (AEConfig, "has no attribute 'latent_dim'"),
        ("vae", "str has no attribute 'latent_dim'"),
    ],
)
def test_an_error_names_the_attribute(config: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        check_model_config(config)
    with pytest.raises(ValueError, match=message):
        FlowAEConfig(autoencoder=config)
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "one", AEConfig(latent_dim=2).build(SHAPE), config, SHAPE, Draw(0))
    assert not (tmp_path / "one").exists()
    example = tiny.experiment()
    with pytest.raises(ValueError, match=message):
        Experiment(
            data=example.data, model=config, training=example.training, chains=example.chains
        )


def test_a_users_own_family_is_saved_and_loaded(tmp_path: Path) -> None:
    config = PlainFamilyConfig(latent_dim=3)
    save_model(tmp_path / "one", config.build(SHAPE), config, SHAPE, Draw(0))
    assert load_model(tmp_path / "one").latent_dim == 3


def test_a_class_without_a_name_is_refused_when_the_model_is_saved(tmp_path: Path) -> None:
    config = UnregisteredConfig(latent_dim=3)
    with pytest.raises(ValueError, match="UnregisteredConfig has no name on disk"):
        save_model(tmp_path / "one", config.build(SHAPE), config, SHAPE, Draw(0))
    assert not (tmp_path / "one").exists()
