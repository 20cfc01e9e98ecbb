"""The interface of a model family's config, with which its model is built, trained and loaded."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from genae_core.config import require, require_int, require_positive_int
from genae_core.models.base import GenerativeModel
from genae_core.nets.base import Shape


class _ClassName:
    """A class attribute whose value is the name of the class without "Config" at its end."""

    def __get__(self, config: object, kind: type) -> str:
        return kind.__name__.removesuffix("Config")


class ModelConfig(Protocol):
    """The config of a model family, usually a frozen dataclass that derives from this class.

    Attributes:
        latent_dim: The dimension D of the latent code, as a field or a property.
        family: The family's name in the literature, such as "VAE". The default is the name of the
            class without "Config".
        num_classes: The number of classes whose labels the training needs. The default is 0, for a
            training without labels.
    """

    # A dataclass takes an attribute of its base class as the default of the field with that name.
    # So `latent_dim` does not exist at run time, and the others are plain values.
    if TYPE_CHECKING:

        @property
        def latent_dim(self) -> int: ...

        @property
        def family(self) -> str:
            return ""

        @property
        def num_classes(self) -> int:
            return 0

    else:
        family = _ClassName()
        num_classes = 0

    @abstractmethod
    def build(self, shape: Shape) -> GenerativeModel:
        """Build the untrained model, with weights drawn from torch's global random state.

        Args:
            shape: (C, H, W) of the images.

        Returns:
            The model, on the CPU.

        Raises:
            ValueError: The networks cannot take images of this shape.
        """


class TrainedModelConfig(ModelConfig):
    """The config of a model that is already trained: `build` gives it with its weights.

    Its experiments have `training=None`, and its cells are run once, because a seed would change
    nothing.
    """


def is_trained(config: object) -> bool:
    """Whether the config is of a model that is already trained."""
    return isinstance(config, TrainedModelConfig)


MEANINGS = {
    "latent_dim": "the dimension of the latent code: add a field or a property",
    "family": "the family's name for people: derive the class from genae_core.models.ModelConfig, "
    "which has a default, or add a property",
    "num_classes": "the number of classes whose labels the training needs: derive the class from "
    "genae_core.models.ModelConfig, which has the default 0, or add a field",
    "build": "the method that builds the model for a shape of images",
}


def check_model_config(config: Any) -> None:
    """Check that a config has everything that training, saving and loading its model needs.

    Args:
        config: The config of a family, of genae or your own.

    Raises:
        ValueError: An attribute of `ModelConfig` is missing or has a wrong value.
    """
    kind = type(config).__name__
    for name, meaning in MEANINGS.items():
        if not hasattr(config, name):
            raise ValueError(f"{kind} has no attribute {name!r}, {meaning}")
    require_positive_int(**{f"{kind}.latent_dim": config.latent_dim})
    require_int(**{f"{kind}.num_classes": config.num_classes})
    require(config.num_classes >= 0, "num_classes must be >= 0", num_classes=config.num_classes)
    require(
        isinstance(config.family, str) and config.family != "",
        f"{kind}.family must be a name",
        family=config.family,
    )
    require(callable(config.build), f"{kind}.build must be a method", build=config.build)
