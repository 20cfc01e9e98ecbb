"""A folder that holds the trained model of a run for others: weights, config, card and samples.

The folder is a checkpoint, so that whatever reads checkpoints reads it. Its description also holds
the run's experiment under the key "export" (see `trained_model`). Paths and URIs are left out, for
they say where a person keeps files.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import genae_core as genae
from genae_core import config
from genae_core.config import require
from genae_core.config.definitions import stored_definition
from genae_core.config.places import local_path
from genae_core.config.redaction import PLACES, hide_places
from genae_core.data import durable, sealed
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.recipes.trained_model import EXPORT, TrainedModel, fetch_run_model, find_run
from genae_core.report.card.subject import METRICS, ExportedModel
from genae_core.report.card.text import format_card
from genae_core.report.card.usage import sampling_words
from genae_core.report.explorer.gather import STRIP
from genae_core.tracking.mlflow_store import Tracker
from genae_core.training import checkpoint
from genae_core.training.checkpoint import DESCRIPTION, WEIGHTS

CARD, PICTURE = "README.md", "samples.png"


class Export(NamedTuple):
    """A folder that was written.

    Attributes:
        folder: The folder.
        title: The model in words.
        bytes_by_file: The size of each file in bytes.
        needed: The dotted names of the settings that held a path which a class of the user's own
            may need.
        files: The names of the files of another package that the weights are copies of; empty for
            a model of genae.
        sampling_words: The flags that `genae sample` needs for the folder; None if it cannot
            sample the model, because its chain starts from images.
    """

    folder: Path
    title: str
    bytes_by_file: dict[str, int]
    needed: list[str]
    files: list[str]
    sampling_words: list[str] | None


def export_run(run_id: str, folder: Path, tracking_uri: str | None = None) -> Export:
    """Write the trained model of a run into a folder that others can read without a store.

    Args:
        run_id: The id of an MLflow run.
        folder: The folder, which is empty or does not exist.
        tracking_uri: The MLflow store of the run; None is mlflow.db in GENAE_HOME.

    Returns:
        What was written.

    Raises:
        ValueError: The folder is not empty; or the run does not exist, has not finished, or has no
            checkpoint; or the checkpoint is broken.
        OSError: The disk fails or is full.
    """
    folder = local_path(folder, "the folder of an export")
    check_folder(folder)
    require(
        "/" not in run_id and not Path(run_id).exists(),
        "an export is made of a run: give the id of an MLflow run",
        run_id=run_id,
    )
    with tempfile.TemporaryDirectory() as scratch:
        tracker, run = find_run(run_id, tracking_uri)
        source = fetch_run_model(tracker, run, Path(scratch))
        picture = _fetch_picture(tracker, run, source, Path(scratch))
        description, hidden = _describe(source, run_id)
        tensors, _ = checkpoint.read(source.folder)
        weights = {name: t for name, t in tensors.items() if name.startswith("model.")}
        seeds = tracker.read_seeds(run, METRICS)
        about = description[EXPORT]
        exported = ExportedModel(
            run=next(seed for seed in seeds if seed.run_id == run_id),
            seeds=seeds,
            chain=source.chain,
            model=description["model"],
            experiment=about["experiment"],
            own_code=about[config.OWN_CODE],
            shape=tuple(description["shape"]),
            weights=sum(tensor.numel() for tensor in weights.values()),
            files=_files_of(description, weights),
            steps=source.steps,
            picture=None if picture is None else PICTURE,
        )
        _write(folder, source.folder / WEIGHTS, description, format_card(exported), picture)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    # Sampling needs none of genae's own places: --data-root replaces the root of the images, and
    # the weights hold what the others name.
    needed = [name for name in hidden if name.split(".")[-1] not in PLACES]
    can_be_sampled = source.chain.sampler.starts_from == "prior"
    words = sampling_words(exported) if can_be_sampled else None
    return Export(folder, exported.title, sizes, needed, exported.files, words)


def check_folder(folder: Path) -> None:
    """Raise ValueError if the folder is not empty, or is no folder."""
    if folder.exists() or folder.is_symlink():
        require(folder.is_dir(), "--out must be a folder", out=str(folder))
        names = sorted(path.name for path in folder.iterdir())
        require(
            not names,
            "--out must be empty or not exist, because an export replaces nothing; it holds "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}",
            out=str(folder),
        )


def _describe(source: TrainedModel, run_id: str) -> tuple[dict[str, Any], list[str]]:
    """The description of the export's checkpoint, and the names of the settings that held places.

    The sha256 of the weights stays, since the file of the weights is copied.
    """
    assert source.stored is not None
    original = checkpoint.read_description(source.folder)
    model, hidden_in_model = hide_places(config.canonicalize(original["model"]), "model")
    experiment, hidden = hide_places(source.stored.values)
    description = {
        **original,
        "model": model,
        EXPORT: {
            "genae": genae.__version__,
            "run": run_id,
            "experiment": experiment,
            config.OWN_CODE: _without_folders(source.stored.own_code),
            "recommended_step": source.steps,
            "data_sha256": source.data_sha256,
        },
    }
    if config.OWN_CODE in original:
        description[config.OWN_CODE] = _without_folders(original[config.OWN_CODE])
    return description, sorted({*hidden, *hidden_in_model})


def _files_of(description: dict[str, Any], weights: Iterable[str]) -> list[str]:
    """The names of the files that a model of another package is made of (see `read_files`)."""
    if description["model"][config.KEY] != config.name_of(WrappedConfig):
        return []
    return sorted(name.partition("/")[2] for name in weights)


def _without_folders(own_code: Any) -> dict[str, Any]:
    """The stored definitions of own classes, without the folders of this machine."""
    names = own_code if isinstance(own_code, dict) else {}
    definitions = {name: stored_definition(own_code, name) for name in names}
    return {name: d.without_folders().to_json() for name, d in definitions.items() if d}


def _fetch_picture(tracker: Tracker, run: Any, source: TrainedModel, scratch: Path) -> Path | None:
    """The picture of the first chains; None if there is none, or if it shows images of the data.

    Chains that start from images may show them at their first step.
    """
    if source.chain.sampler.starts_from != "prior":
        return None
    run_id = run.info.run_id
    names = [file.path for file in tracker.client.list_artifacts(run_id)]
    return tracker.fetch(run_id, STRIP, scratch) if STRIP in names else None


def _write(
    folder: Path, weights: Path, description: dict[str, Any], card: str, picture: Path | None
) -> None:
    """Write the files, each completely, with the description last: without it there is no export.

    The folder itself is kept, because it may be a mount point or the working folder.
    """
    durable.make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as scratch:
        partial = Path(scratch)
        shutil.copyfile(weights, partial / WEIGHTS)
        (partial / CARD).write_text(card, encoding="utf-8")
        if picture is not None:
            shutil.copyfile(picture, partial / PICTURE)
        text = sealed.to_text(description, indent=2, allow_nan=False)
        (partial / DESCRIPTION).write_text(text)
        names = [CARD, WEIGHTS, *([PICTURE] if picture is not None else []), DESCRIPTION]
        for name in names:
            durable.publish(partial / name, folder / name)
