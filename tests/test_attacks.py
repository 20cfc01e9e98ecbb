"""What an attacker put where genae reads is refused, and nothing of it runs."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.resealing import digest_of_file, reseal
from PIL import Image

from genae_core import config
from genae_core.data import sealed
from genae_core.data.image_folder import ImageFolderConfig
from genae_core.data.preparation import prepare
from genae_core.data.shard_images import DIGESTS, open_shards
from genae_core.data.shards import MANIFEST
from genae_core.data.storage import Folder
from genae_core.distributions.rng import Draw
from genae_core.models.vae import VAEConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.tracking.journal import Journal, pending_events, read_events
from genae_core.training import checkpoint


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there once an attacker's code has run."""
    return tmp_path / "the trap was sprung"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model_config = VAEConfig(latent_dim=2, net=MLPConfig(widths=(4,)))
    with Draw(0).as_global():
        model = model_config.build((1, 2, 2))
    checkpoint.save_model(tmp_path / "saved", model, model_config, (1, 2, 2), Draw(0))
    return tmp_path / "saved"


def test_the_trap_works(mark: Path) -> None:
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_a_checkpoint_is_refused(saved: Path, mark: Path, zipped: bool) -> None:
    weights = saved / checkpoint.WEIGHTS
    if zipped:
        torch.save(Trap(mark), weights)
    else:
        weights.write_bytes(pickle.dumps(Trap(mark)))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    reseal(saved / checkpoint.DESCRIPTION, sha256=digest)
    with pytest.raises(ValueError, match="no safetensors"):
        checkpoint.load_model(saved)
    assert not mark.exists()


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "genae_core_evil.VAEConfig",
        "genae_core.launch.os.system",
        "genae_core.home.subprocess",
        "genae_core...os.system",
        "../genae_core.models.vae.VAEConfig",
        "genae_core.models.vae.VAE",
    ],
)
def test_a_config_from_elsewhere_is_refused(saved: Path, path: str) -> None:
    reseal(saved / checkpoint.DESCRIPTION, model={config.KEY: path, "latent_dim": 2})
    with pytest.raises(ValueError, match="no config"):
        checkpoint.load_model(saved)


def test_a_config_that_is_no_models_is_refused(saved: Path) -> None:
    about = config.to_dict(MLPConfig())
    reseal(saved / checkpoint.DESCRIPTION, model=about)
    with pytest.raises(
        ValueError, match="is not of a generative model: MLPConfig has no attribute"
    ):
        checkpoint.load_model(saved)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    for number, pixels in enumerate(noise):
        path = tmp_path / "raw" / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    prepare(ImageFolderConfig(root=str(tmp_path / "raw"), size=32), Folder(tmp_path / "shards"))
    return tmp_path / "shards"


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "../../elsewhere"},
        {"dataset": "/tmp/elsewhere"},
        {"dataset": ".."},
        {"dataset": ""},
        {"shape": [1, 10**9]},
        {"shape": [3, -8, 8]},
        {"group_rows": 0},
        {"shape": "everything"},
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    reseal(shards / MANIFEST, **changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is no manifest"):
        open_shards(Folder(shards), tmp_path / "cache")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../raw/class0/00.png"},
        {"file": "/etc/passwd"},
        {"split": "../train"},
        {"rows": -1},
    ],
)
def test_a_shard_from_elsewhere_is_refused(
    shards: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    listed = sealed.read(shards / MANIFEST)["shards"]
    reseal(shards / MANIFEST, shards=[{**listed[0], **changes}, *listed[1:]])
    with pytest.raises(ValueError, match="is no manifest"):
        open_shards(Folder(shards), tmp_path / "cache")


def test_a_manifest_of_more_rows_than_there_are_is_refused(shards: Path, tmp_path: Path) -> None:
    listed = sealed.read(shards / MANIFEST)["shards"]
    more = {**listed[0], "rows": listed[0]["rows"] + 1}
    reseal(shards / MANIFEST, shards=[more, *listed[1:]])
    with pytest.raises(ValueError, match="shards hold"):
        open_shards(Folder(shards), tmp_path / "cache")


def test_an_array_of_objects_in_the_cache_is_not_unpickled(
    shards: Path, tmp_path: Path, mark: Path
) -> None:
    open_shards(Folder(shards), tmp_path / "cache")
    (labels,) = (tmp_path / "cache").glob("*/train/labels.npy")
    np.save(labels, np.array([Trap(mark)], dtype=object), allow_pickle=True)
    reseal(labels.with_name(DIGESTS), **{labels.name: digest_of_file(labels)})
    with pytest.raises(ValueError, match="object"):
        open_shards(Folder(shards), tmp_path / "cache")
    assert not mark.exists()


def test_a_link_in_a_journal_is_not_followed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "key")
    journal.log_text("{}", "experiment.json")
    (event,) = pending_events(journal.folder)
    (event / "files" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="no links"):
        read_events(journal.folder)
