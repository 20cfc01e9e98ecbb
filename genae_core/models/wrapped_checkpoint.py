"""The config of a model of another package, with which a sweep samples it without training."""

import dataclasses
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from genae_core.config import register, require, require_finite, require_positive_int
from genae_core.config.errors import reason_of
from genae_core.config.own_functions import (
    OwnFunction,
    adopt_functions,
    function_field,
    name_function,
    own_function,
)
from genae_core.config.places import local_path
from genae_core.config.registry import UnknownConfigError
from genae_core.models.checkpoint_files import digest_of, find_files, read_files, write_files
from genae_core.models.config import TrainedModelConfig
from genae_core.models.known_kinds import KINDS
from genae_core.models.wrapped import WrappedAutoencoder, WrappedDecoder, try_model
from genae_core.nets.base import Shape

WrappedModel = WrappedAutoencoder | WrappedDecoder
SHA256 = re.compile(r"[0-9a-f]{64}")


@register("wrapped")
@dataclass(frozen=True, kw_only=True)
class WrappedConfig(TrainedModelConfig):
    """The config of a model that another package has trained. `wrapped_config` makes it.

    Args:
        loader: What makes the model of the checkpoint: "pythae", "autoencoder_kl", or
            "module:function", a function of your own code.
        checkpoint: The absolute path of the file or folder. It may be moved: the content decides
            what the model is, so two configs that differ by their paths are equal.
        sha256: The sha256 (hex) of the checkpoint's content.
        latent_dim: The dimension D of the model's codes.
        noise: The standard deviation of the corruption that it was trained with.
        has_encoder: Whether the model has an encoder. Without one there is no chain.
        name: The name of the model for people.

    Raises:
        ValueError: A value is out of range.
    """

    loader: str = function_field()
    checkpoint: str = field(compare=False)
    sha256: str
    latent_dim: int
    noise: float = 0.0
    has_encoder: bool = True
    name: str

    def __post_init__(self) -> None:
        _check_loader(self.loader)
        require(
            SHA256.fullmatch(self.sha256) is not None,
            "sha256 must be 64 hexadecimal digits; wrapped_config computes it",
            sha256=self.sha256,
        )
        require_positive_int(latent_dim=self.latent_dim)
        require_finite(0, noise=self.noise)
        require(bool(self.name.strip()), "name must name the model", name=self.name)

    @property
    def family(self) -> str:
        """The name, with what tables, pages and MLflow should say of the model."""
        return f"{self.name} ({'already trained' if self.has_encoder else 'decoder alone'})"

    def build(self, shape: Shape) -> WrappedModel:
        """Load the model from its checkpoint.

        Args:
            shape: (C, H, W) of the images.

        Returns:
            The trained model, on the CPU.

        Raises:
            ValueError: The checkpoint is missing or has changed; the loader is not known or fails;
                or the model is not what the config says.
        """
        self._check_files()
        return self.load(Path(self.checkpoint), shape)

    def load(self, place: Path, shape: Shape) -> WrappedModel:
        """`build` for a copy of the checkpoint at another place."""
        model = _load(self.loader, place, shape)
        for name, stated, actual in zip(
            ("latent_dim", "noise", "has_encoder"),
            (self.latent_dim, self.noise, self.has_encoder),
            _facts(model),
            strict=True,
        ):
            require(
                stated == actual,
                f"{self.loader} gives a model with {name}={actual} for {place}: its code has "
                "changed; make the config anew",
                **{name: stated},
            )
        return model

    def read_files(self) -> dict[str, Tensor]:
        """The bytes of the checkpoint, which `load_files` can load when it is gone.

        Raises:
            ValueError: The checkpoint is missing or has changed.
        """
        return read_files(Path(self.checkpoint), self._check_files())

    def load_files(self, tensors: dict[str, Tensor], shape: Shape) -> WrappedModel:
        """Load the model from the bytes of its checkpoint.

        Raises:
            ValueError: The bytes are not those of the checkpoint; or as for `build`.
        """
        with tempfile.TemporaryDirectory() as scratch:
            place = write_files(tensors, Path(scratch))
            self._check_digest(place, _files_of(self.loader, place))
            return self.load(place, shape)

    def _check_files(self) -> dict[str, Path]:
        place = Path(self.checkpoint)
        files = _files_of(self.loader, place)
        self._check_digest(place, files)
        return files

    def _check_digest(self, place: Path, files: dict[str, Path]) -> None:
        """Raise ValueError unless the content is that of the config."""
        digest = digest_of(place, files)
        require(
            digest == self.sha256,
            f"the checkpoint {place} has changed: its sha256 is {digest}. Put back the file of "
            "this model, or start another sweep with the new one",
            expected=self.sha256,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """A config that is sent to a worker takes its loader along, which no other process may be
        able to import."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        try:
            function = None if self.loader in KINDS else own_function(self.loader)
        except UnknownConfigError:
            function = None
        return _receive, (values, function)


def wrapped_config(
    checkpoint: str | Path,
    loader: str | Callable[[Path, Shape], WrappedModel],
    shape: Shape,
    name: str | None = None,
) -> WrappedConfig:
    """The config of a model that another package has trained, which is loaded once to ask it.

    Args:
        checkpoint: The path of the file or folder.
        loader: "pythae" or "autoencoder_kl"; or a function of your own that takes the path and
            (C, H, W) and returns a model, such as the result of `wrap`; or its name
            "module:function", in a script, or in a module that `trust` has imported.
        shape: (C, H, W) of the images.
        name: The name of the model in tables; None takes that of its class or its loader.

    Returns:
        The config.

    Raises:
        ValueError: The checkpoint or the loader is missing, the loader fails, or the model's codes
            or images are not as they must be.
    """
    place = local_path(checkpoint, "the checkpoint")
    loader_name = loader if isinstance(loader, str) else name_function(loader)
    _check_loader(loader_name)
    files = _files_of(loader_name, place)
    digest = digest_of(place, files)
    latent_dim, noise, has_encoder = _facts(_load(loader_name, place, shape))
    usual = KINDS[loader_name].name(place) if loader_name in KINDS else loader_name
    return WrappedConfig(
        loader=loader_name,
        checkpoint=str(place),
        sha256=digest,
        latent_dim=latent_dim,
        noise=noise,
        has_encoder=has_encoder,
        name=usual if name is None else name,
    )


def _files_of(loader: str, place: Path) -> dict[str, Path]:
    return find_files(place, KINDS[loader].files if loader in KINDS else ())


def _check_loader(loader: str) -> None:
    require(
        loader in KINDS or all(loader.partition(":")),
        f"the loader of a model must be {', '.join(KINDS)} or MODULE:FUNCTION",
        loader=loader,
    )


def _load(loader: str, place: Path, shape: Shape) -> WrappedModel:
    """The model of a checkpoint, tried on two images and two codes."""
    load = KINDS[loader].load if loader in KINDS else own_function(loader).function
    what = f"the model of {place} for images of shape {tuple(shape)}"
    try:
        model = load(place, shape)
        if isinstance(model, WrappedAutoencoder | WrappedDecoder):
            try_model(model, shape)  # which the loader may have done for images of another shape
    except ValueError as error:
        raise ValueError(f"{loader} cannot make {what}: {error}") from None
    except Exception as error:  # The user's own code, or a package, may raise anything.
        raise ValueError(f"{loader} cannot make {what}: {reason_of(error)}") from error
    require(
        isinstance(model, WrappedAutoencoder | WrappedDecoder),
        f"{loader} must return what genae_core.wrap makes",
        result=type(model).__name__,
    )
    return model.eval()


def _facts(model: WrappedModel) -> tuple[int, float, bool]:
    """What a config says of its model: the latent dimension, the noise, and the encoder."""
    if isinstance(model, WrappedDecoder):
        return model.latent_dim, 0.0, False
    return model.latent_dim, model.noise, True


def _receive(values: dict[str, Any], function: OwnFunction | None) -> WrappedConfig:
    """A config that has come to this process, with its loader."""
    if function is not None:
        adopt_functions({values["loader"]: function})
    return WrappedConfig(**values)
