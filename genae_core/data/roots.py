"""The root in a dataset's config, which says where the files are but not what they hold."""

import dataclasses
from typing import Any

from genae_core.config.places import is_uri, locate
from genae_core.config.redaction import HIDDEN
from genae_core.data.base import DataConfig
from genae_core.data.storage import Folder


def root_of(data: DataConfig) -> str | None:
    """The root as it is spelled in the config; None if the dataset needs no files."""
    root: str | None = _fields(data).get("root")
    return root


def replace_root(data: DataConfig, root: str) -> DataConfig:
    """The config with another root. A dataset that needs no files stays as it is."""
    if root_of(data) in (None, root):
        return data
    config: Any = data
    changed: DataConfig = dataclasses.replace(config, root=root)
    return changed


def locate_root(data: DataConfig) -> DataConfig:
    """The config with an absolute root, which can be stored."""
    root = root_of(data)
    return data if root is None else replace_root(data, locate(root, "root"))


def choose_root(data: DataConfig, data_root: str | None) -> DataConfig:
    """The config of a stored run, with the root where its files are now.

    Args:
        data: The run's config. Versions before 0.2 stored a relative root as it was typed.
        data_root: The value of --data-root, which wins over the stored root; None keeps it.

    Returns:
        The config with the root to read.

    Raises:
        ValueError: No root is passed, and there is no folder at the stored one, or an export has
            left it out.
    """
    root = root_of(data)
    if root is None:
        return data
    if data_root is not None:
        return replace_root(data, data_root)
    if root == HIDDEN:
        raise ValueError(
            f"{data.name}: an exported model does not say where its images lie; give --data-root"
        )
    if is_uri(root) or Folder(root).exists():
        return data
    if locate(root) == root.rstrip("/"):
        why = "give --data-root if the images have moved"
    else:
        why = (
            f"the run was stored with the relative root {root!r}: start the command in the folder "
            "in which its sweep was started, or give --data-root"
        )
    raise ValueError(f"{data.name}: there is no folder {locate(root)}; {why}")


def _fields(data: DataConfig) -> dict[str, Any]:
    """The values of the config's fields by name."""
    config: Any = data
    return {field.name: getattr(data, field.name) for field in dataclasses.fields(config)}
