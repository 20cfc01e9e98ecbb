"""Tensors and their description on disk: safetensors + JSON in one folder, whole or absent.

Nothing is pickled. The JSON holds the sha256 of the weights, checked on reading.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genae_core import config
from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import GenerativeModel, ModelConfig
from genae_core.models.two_stage import TwoStage, TwoStageConfig
from genae_core.nets.base import Shape

WEIGHTS = "weights.safetensors"
DESCRIPTION = "checkpoint.json"


def write(folder: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write the folder in one rename; one that is already there is left as it is.

    Raises OSError where the disk fails or is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, partial / WEIGHTS)
        except SafetensorError as error:  # what it makes of an OSError
            raise OSError(f"could not write {folder}: {error}") from None
        about = {**description, "sha256": _sha256(partial / WEIGHTS)}
        (partial / DESCRIPTION).write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
        partial.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was first: its folder is complete
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not (folder / DESCRIPTION).is_file():
        raise OSError(f"could not write {folder}")


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote. Raises ValueError where a file is missing, broken or changed."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        found = _sha256(folder / WEIGHTS)
    except (OSError, ValueError) as error:
        raise ValueError(f"no readable checkpoint in {folder}: {error}") from None
    if not isinstance(description, dict):
        raise ValueError(f"no readable checkpoint in {folder}: {DESCRIPTION} holds no object")
    if found != description.get("sha256"):
        raise ValueError(
            f"{folder / WEIGHTS} is not the file that was written: its sha256 is "
            f"{found}, expected {description.get('sha256')}; delete {folder}"
        )
    try:
        return load_file(folder / WEIGHTS), description
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file: {error}") from None


def save_model(
    folder: Path,
    model: nn.Module,
    model_config: Any,
    shape: tuple[int, int, int],
    draw: Draw,
) -> None:
    """A trained model: weights, buffers, its config and shape, and the state of its stream."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["draw"] = draw.generator.get_state()
    write(folder, tensors, {"model": config.to_dict(model_config), "shape": list(shape)})


def model_config(folder: Path) -> Any:
    """The config of the model in a checkpoint. Raises ValueError as `read` does, and where it
    holds something else."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"no readable checkpoint in {folder}: {error}") from None
    if not isinstance(description, dict) or "model" not in description:
        raise ValueError(f"{folder} is a checkpoint, but not of a generative model")
    return config.from_dict(description["model"])


def build_model(model_config: ModelConfig, shape: Shape) -> GenerativeModel:
    """The config's model, to be trained: of a two-stage family on a finished autoencoder with that
    one's weights. Raises ValueError where the finished one's checkpoint cannot be read, or is of
    another autoencoder."""
    model = model_config.build(shape)
    if isinstance(model, TwoStage) and model.finished is not None:
        check_finished(model_config)
        model.take_autoencoder(load_model(Path(model.finished)).state_dict())
    return model


def check_finished(config: ModelConfig) -> None:
    """Raise ValueError where the finished autoencoder of a two-stage config is not there or is of
    another config; nothing is read where the config names none."""
    if not isinstance(config, TwoStageConfig) or config.finished is None:
        return
    stored = model_config(Path(config.finished))
    require(
        stored == config.autoencoder,
        f"{config.family}: the checkpoint {config.finished} must be of the autoencoder "
        f"{config.autoencoder}",
        checkpoint=stored,
    )


def load_model(folder: Path) -> GenerativeModel:
    """The trained model in evaluation mode, on the CPU. Raises ValueError as `read` does."""
    return model_of(*read(folder), str(folder))


def model_of(
    tensors: dict[str, Tensor], description: dict[str, Any], where: str
) -> GenerativeModel:
    """The model that a checkpoint's tensors and description are of, as `load_model`."""
    if "model" not in description:
        raise ValueError(f"{where} is a checkpoint, but not of a generative model")
    model_config = config.from_dict(description["model"])
    kind = type(model_config).__name__
    if not isinstance(model_config, ModelConfig):
        raise ValueError(f"{where}: {kind} is not of a generative model")
    model: Any = model_config.build(tuple(description["shape"]))
    names = [name for name in tensors if name.startswith("model.")]
    model.load_state_dict({name.removeprefix("model."): tensors[name] for name in names})
    trained: GenerativeModel = model.eval()
    return trained


def weights_digest(module: nn.Module) -> str:
    """sha256 (hex) over a module's tensors and their names, as they are in memory."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
