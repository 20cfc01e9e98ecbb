"""Checkpoints, which are folders with tensors (safetensors) and their description (JSON).

A checkpoint is written completely or not at all, and nothing in it is pickled. The description is
sealed and contains the sha256 of the file of the tensors, and `read` checks both.
"""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genae_core import config
from genae_core.config import require
from genae_core.config.messages import print_warning
from genae_core.config.own_parts import describe_changes
from genae_core.config.places import local_path
from genae_core.config.registry import say_what_to_trust
from genae_core.data import durable, sealed
from genae_core.distributions.rng import Draw
from genae_core.models.base import GenerativeModel
from genae_core.models.config import ModelConfig, check_model_config
from genae_core.models.two_stage import TwoStage, TwoStageConfig
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.nets.base import Shape

WEIGHTS = "weights.safetensors"
DESCRIPTION = "checkpoint.json"
LFS_POINTER = b"version https://git-lfs"  # how a file begins that stands for one in Git LFS


def write(folder: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write a checkpoint. If the folder already holds one, that one stays as it is.

    Raises:
        OSError: The disk fails or is full.
    """
    durable.make_folder(folder.parent)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.partial-"))
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, partial / WEIGHTS)
        except SafetensorError as error:  # safetensors raises it instead of an OSError.
            raise OSError(f"could not write {folder}: {error}") from None
        contents = {**description, "sha256": sealed.sha256_of(partial / WEIGHTS)}
        text = sealed.to_text(contents, indent=2, allow_nan=False)
        (partial / DESCRIPTION).write_text(text)
        partial.chmod(0o755)
        # If another process was faster, the folder is already complete, and the renaming fails.
        with contextlib.suppress(OSError):
            durable.publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not (folder / DESCRIPTION).is_file():
        raise OSError(f"could not write {folder}")


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description of a checkpoint.

    Raises:
        ValueError: A file is missing, broken or changed.
    """
    description = read_description(folder)
    try:
        sha256 = sealed.sha256_of(folder / WEIGHTS)
    except OSError as error:
        raise ValueError(f"no readable checkpoint in {folder}: {error}") from None
    if sha256 != description.get("sha256"):
        raise ValueError(
            f"{folder / WEIGHTS} is not the file that was written: its sha256 is "
            f"{sha256}, expected {description.get('sha256')}; {_remedy(folder)}"
        )
    try:
        return load_file(folder / WEIGHTS), description
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file: {error}") from None


def _remedy(folder: Path) -> str:
    """What a user can do about weights that are not those that were written."""
    with (folder / WEIGHTS).open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            return "it only names the weights: fetch them with `git lfs pull`"
    return f"delete {folder}, or fetch it again if it is a copy"


def read_description(folder: Path) -> dict[str, Any]:
    """Read the description of a checkpoint without its tensors.

    Raises:
        ValueError: It is missing, broken or changed.
    """
    try:
        return sealed.from_text((folder / DESCRIPTION).read_bytes(), DESCRIPTION)
    except FileNotFoundError:
        raise ValueError(
            f"no readable checkpoint in {folder}: it has no {DESCRIPTION}, which every checkpoint "
            "and every export has"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"no readable checkpoint in {folder}: {error}") from None


def save_model(
    folder: Path,
    model: nn.Module,
    model_config: ModelConfig,
    shape: Shape,
    draw: Draw,
) -> None:
    """Save a trained model as a checkpoint that `load_model` can load.

    Args:
        folder: The folder of the checkpoint.
        model: The model, whose weights and buffers are saved.
        model_config: The config that the model was built from.
        shape: (C, H, W) of the images.
        draw: The random stream of the training, whose state is saved.

    Raises:
        ValueError: The model could not be loaded again, because the class of the config is not
            registered or lacks an attribute of `ModelConfig`; or the checkpoint of a
            `WrappedConfig` is missing or has changed.
        OSError: The disk fails or is full.
    """
    check_model_config(model_config)
    if isinstance(model_config, WrappedConfig):  # Its loader needs the files and not the weights.
        state = model_config.read_files()
    else:
        state = model.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in state.items()}
    tensors["draw"] = draw.generator.get_state()
    write(
        local_path(folder, "a checkpoint"),
        tensors,
        {"model": config.to_dict(model_config), "shape": list(shape), **_own_code(model_config)},
    )


def _own_code(model_config: ModelConfig) -> dict[str, Any]:
    """What a checkpoint says of the code of its config; nothing if all classes are genae's."""
    code = config.own_definitions(model_config)
    return {config.OWN_CODE: code} if code else {}


def load_model(folder: Path) -> GenerativeModel:
    """Load a trained model.

    A class of your own must be known to this program: import its module, or call
    `genae_core.trust`.

    Args:
        folder: The folder of its checkpoint.

    Returns:
        The model, in evaluation mode and on the CPU.

    Raises:
        ValueError: The checkpoint is missing, broken, changed, or not of a generative model.
    """
    folder = local_path(folder, "a checkpoint")
    tensors, description = read(folder)
    warn_of_changed_code(description, str(folder))
    return restore_model(tensors, description, str(folder))


def restore_model(
    tensors: dict[str, Tensor], description: dict[str, Any], source: str
) -> GenerativeModel:
    """Build the model of a checkpoint that was read from `source`, and load its weights.

    Raises ValueError as `load_model` does.
    """
    model_config = _config_of(description, source)
    changes = "; ".join(describe_changes(model_config, description.get(config.OWN_CODE)))
    prefix = "model."
    weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    if isinstance(model_config, WrappedConfig):
        try:
            return model_config.load_files(weights, tuple(description["shape"]))
        except ValueError as error:
            why = f"{changes}; " if changes else ""
            raise ValueError(f"{source}: {why}{error}") from None
    try:
        model = model_config.build(tuple(description["shape"]))
        model.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        why = f"does not fit: {changes}" if changes else "is damaged"
        raise ValueError(f"{source} {why}: {error}") from None
    if isinstance(model, TwoStage):
        model.needs_weights = False  # The checkpoint holds the autoencoder's weights too.
    return model.eval()


def warn_of_changed_code(description: dict[str, Any], source: str) -> None:
    """Print a warning if a file that defines a class of the model has changed since the training.

    Raises ValueError if a class is not known, or if there is no model.
    """
    model_config = _config_of(description, source)
    for change in describe_changes(model_config, description.get(config.OWN_CODE)):
        print_warning(change)


def load_model_config(folder: Path) -> ModelConfig:
    """Load the config of the model in a checkpoint. Raises ValueError as `load_model` does."""
    folder = local_path(folder, "a checkpoint")
    return _config_of(read_description(folder), str(folder))


def _config_of(description: dict[str, Any], source: str) -> ModelConfig:
    """The model's config in a checkpoint's description. Raises ValueError if there is none."""
    if "model" not in description:
        raise ValueError(f"{source} is a checkpoint, but not of a generative model")
    with say_what_to_trust(description.get(config.OWN_CODE), source):
        model_config: ModelConfig = config.from_dict(description["model"])
        config.own_definitions(model_config)  # raises if one of its functions is not known
    try:
        check_model_config(model_config)
    except ValueError as error:
        raise ValueError(f"{source} is not of a generative model: {error}") from None
    return model_config


def build_model(model_config: ModelConfig, shape: Shape) -> GenerativeModel:
    """Build a model that is ready to be trained.

    If a two-stage model is built on a finished autoencoder, the weights of the autoencoder are
    loaded.

    Args:
        model_config: The config of the model.
        shape: (C, H, W) of the images.

    Returns:
        The model, on the CPU. Its other weights are drawn from torch's global random state.

    Raises:
        ValueError: The networks cannot take the shape, or the checkpoint of the finished
            autoencoder cannot be read or is of another config.
    """
    model = model_config.build(shape)
    if isinstance(model, TwoStage) and model.finished is not None:
        check_finished(model_config)
        model.load_autoencoder(load_model(Path(model.finished)).state_dict())
    return model


def check_finished(config: ModelConfig) -> None:
    """Check the finished autoencoder of a two-stage config, if it names one.

    Raises:
        ValueError: Its checkpoint cannot be read or is of another config.
    """
    if not isinstance(config, TwoStageConfig) or config.finished is None:
        return
    stored = load_model_config(Path(config.finished))
    require(
        stored == config.autoencoder,
        f"{config.family}: the checkpoint {config.finished} must be of the autoencoder "
        f"{config.autoencoder}",
        checkpoint=stored,
    )


def weights_digest(module: nn.Module) -> str:
    """The sha256 (hex) of a module's tensors and their names."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
