"""What all trials of a sweep share: the data, the classifier and the complete experiments."""

import dataclasses
import math
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genae_core.config import require
from genae_core.config.command_name import PROGRAM
from genae_core.config.console import say
from genae_core.config.home import code_version, home, study_version
from genae_core.config.messages import print_warning
from genae_core.config.own_code import TRUSTED
from genae_core.config.redaction import redact_uri
from genae_core.data.base import DataConfig, Splits
from genae_core.data.load import LoadOptions, load_splits
from genae_core.data.parts import ChosenMapper, PartMapper, map_here
from genae_core.data.preparation import PreparationPlan
from genae_core.data.roots import root_of
from genae_core.experiment.classifier_display import classifier_callbacks
from genae_core.experiment.experiment import Experiment, check_memory, resolve, warnings_of
from genae_core.metrics.classifier import Classifier, ClassifierConfig
from genae_core.metrics.classifier_cache import (
    CheckedClassifier,
    checked_classifier,
    load_classifier,
    recipe_of_key,
)
from genae_core.metrics.classifier_choice import find_classifier
from genae_core.metrics.classifier_shipped import shipped_with
from genae_core.models.config import ModelConfig
from genae_core.models.wrapped_checkpoint import WrappedConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.own_classes import classes_to_send
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.reports import RUNGS
from genae_core.sweep.runs import Sweep
from genae_core.sweep.sweep_folder import (
    JOURNALS,
    STATES,
    deliver,
    mirror_of,
    stored_classifier,
)
from genae_core.tracking.mlflow_store import (
    CLASSIFIER,
    CLASSIFIER_RECIPE,
    CLASSIFIER_SHA256,
    RULER,
)

# If a disk may be lost with its node, a trial waits at its end for at most these seconds, until
# the tracking store has what only that disk holds. Then its snapshots are deleted everywhere.
LINGER_S = 60.0
# One process decodes about this number of bytes before a cluster gives its first answer.
FEW_PIXELS = 2**25


def prepare(
    place: SweepPlace,
    cells: dict[str, Experiment],
    data: DataConfig,
    parallel: int,
    options: LaunchOptions,
) -> tuple[Sweep, Splits, Classifier]:
    """Read the data, resolve the experiments, and load the classifier or train it.

    data: How to read the images of all cells. In a resumed sweep they may have moved.
    parallel: The number of trials at a time, which share the memory budget if they stream images.
    """
    if not options.joins and options.gpus == 0:
        check_memory(cells.values(), _largest_memory())
    alone = not options.joins or ray_cluster.single_node_fits(options.trial_resources, parallel)
    finished = _finished_runs(place) if options.resume else {}
    splits = _load_data(data, parallel, options)
    _check_moved_data(place, next(iter(cells.values())).data, data, splits)
    resolved = {key: resolve(cell, splits) for key, cell in cells.items()}
    cell = next(iter(resolved.values()))
    checked = check_classifier(place, cell, splits, options)
    used = [dataclasses.replace(one, classifier=checked.config) for one in resolved.values()]
    for warning in sorted({text for one in used for text in warnings_of(one)}):
        print(f"warning: {warning}")
    mirror = mirror_of(place.name, options)
    sweep = Sweep(
        name=place.name,
        uri=place.tracker.uri,
        experiment_id=place.tracker.experiment_id,
        tags=_tags(place, checked),
        user_classes=classes_to_send(),
        seeds=options.seeds,
        cells=resolved,
        threads=options.threads,
        processes=options.processes,
        gpus=options.gpus,
        memory=int(2**30 * options.memory_per_trial) if options.memory_per_trial else None,
        rungs=RUNGS if options.asha else (),
        states=str(place.folder / STATES),
        journals=str(place.folder / JOURNALS),
        mirror=(mirror / STATES).address if mirror else None,
        finished=finished,
        linger=0.0 if (alone and mirror is None) or options.shared_storage else LINGER_S,
        checkpoint_seconds=options.checkpoint_seconds,
        classifier=checked.config if checked.config != cell.classifier else None,
    )
    return sweep, splits, load_classifier(checked.folder)


def _study_script() -> Path | None:
    """The script of the study. For a study by genae's own command, it is the first file that the
    user trusts, if there is one."""
    script = Path(sys.argv[0]).resolve()
    package = Path(__file__).resolve().parents[1]
    if script.name != PROGRAM and not script.is_relative_to(package):
        return script
    return next((Path(file) for code in TRUSTED if (file := code.__file__)), None)


def check_checkpoints(models: Iterable[ModelConfig]) -> None:
    """Check that every node can read the checkpoints of other packages, before the first trial.

    A node that joins later is not asked; a trial there fails with the same reason.

    Raises:
        ValueError: A node has no such file.
    """
    places = {model.checkpoint for model in models if isinstance(model, WrappedConfig)}
    if not places or len(ray_cluster.nodes()) == 1:
        return
    for host, missing in ray_cluster.call_on_each_node(unreadable, sorted(places)):
        if missing:
            raise ValueError(
                f"the node {host} cannot read the checkpoint {missing[0]}: every worker loads it. "
                "Put it where all nodes find it under this path, such as shared storage"
            )


def unreadable(places: Sequence[str]) -> list[str]:
    """The files and folders that this machine cannot read."""
    return [place for place in places if not os.access(place, os.R_OK)]


def _tags(place: SweepPlace, checked: CheckedClassifier) -> dict[str, str]:
    """The tags of every run of the sweep."""
    about = checked.about
    return {
        **code_version(),
        **study_version(_study_script()),
        "command": command_without_secrets(),
        "study": place.study,
        "dataset": about["dataset"],
        "data_sha256": about["data"],
        CLASSIFIER: checked.name,
        CLASSIFIER_SHA256: about["sha256"],
        CLASSIFIER_RECIPE: about["recipe"],
        "classifier_accuracy": f"{about['accuracy']:.4f}",
        RULER: checked.ruler.line,
    }


def command_without_secrets() -> str:
    """The command of this process, as a shell would read it."""
    return shlex.join([Path(sys.executable).name, *map(redact_uri, sys.argv)])


def _finished_runs(place: SweepPlace) -> dict[str, float]:
    """The best FCD of each finished run of a resumed sweep, after delivering what is on disk."""
    deliver(place.tracker, place.folder)
    return place.tracker.finished_fcds(place.name)


def _check_moved_data(
    place: SweepPlace, stored: DataConfig, present: DataConfig, splits: Splits
) -> None:
    """Raise ValueError if a resumed sweep reads other images than those it was started with."""
    before, now = (redact_uri(root_of(data) or "") for data in (stored, present))
    if before == now:
        return
    digests = {run.data.tags.get("data_sha256") for run in place.tracker.find(sweep=place.name)}
    if digests - {None, splits.sha256}:
        raise ValueError(
            f"--resume: data.root was {before!r} when the sweep was started and is {now!r} now, "
            f"and the images are not the same (sha256 {max(digests - {None}, key=str)} then, "
            f"{splits.sha256} now); give the --data-root with the images of the sweep, or another "
            "--name"
        )
    print(f"note: the images of the sweep are read from {now}; it was started with {before}")


def _load_data(data: DataConfig, parallel: int, options: LaunchOptions) -> Splits:
    loading = LoadOptions(
        shards=options.shards,
        max_rejected=options.max_rejected,
        budget=_budget(options),
        readers=parallel,
    )
    splits = load_splits(
        data,
        home(),
        options=loading,
        mapper=_shard_mapper(options),
        say=say,
    )
    for note in splits.notes:
        print(f"note: {note}")
    return splits


def check_classifier(
    place: SweepPlace, cell: Experiment, splits: Splits, options: LaunchOptions
) -> CheckedClassifier:
    """The FCD's classifier, which can measure samples. Raises ValueError if it is blind.

    A resumed sweep keeps the classifier that it was started with. Versions that did not check it
    may have started sweeps with a blind one; those go on with a warning.
    """
    folder, data = home() / "classifiers", cell.data
    callbacks = classifier_callbacks(data, splits, options.precision)
    if options.resume:
        recipe = _kept_classifier(place, cell, splits, options)
        checked = checked_classifier(
            recipe, data, splits, folder, retrain=False, callbacks=callbacks
        )
    else:
        choice = options.classifier
        checked = find_classifier(cell.classifier, data, splits, folder, choice, callbacks)
        checked.require_sound()
    print(
        f"classifier {checked.name}: {checked.about['accuracy']:.2%} accurate on held-out "
        f"images ({checked.ruler.task})\nruler:  {checked.ruler.line}"
    )
    if checked.ruler.is_blind:
        print(
            "warning: the sweep was started by a version that did not check its classifier. The "
            "FCDs of a blind classifier mean nothing; start another sweep to get a better one"
        )
    if options.resume:
        _warn_of_another_classifier(place, checked)
    return checked


def _kept_classifier(
    place: SweepPlace, cell: Experiment, splits: Splits, options: LaunchOptions
) -> ClassifierConfig:
    """The recipe of a resumed sweep's classifier. Raises ValueError if a flag names another."""
    stored = stored_classifier(place.folder)
    if stored is None:  # The manifest may be lost, but runs know their classifier.
        runs = place.tracker.find(sweep=place.name)
        weights = [run.data.params.get("classifier.weights") for run in runs]
        stored = next((shipped_with(sha256).config for sha256 in weights if sha256), None)
        keys = {run.data.tags.get(CLASSIFIER_RECIPE, "") for run in runs}
        stored = stored or recipe_of_key(cell.classifier, cell.data, splits, keys)
    recipe = stored or cell.classifier
    kind = "train" if recipe.weights is None else "shipped"
    require(
        options.classifier in (None, kind),
        f"--resume: the sweep was started with --classifier {kind}; leave the flag out, or give "
        "another --name",
        classifier=options.classifier,
    )
    return recipe


def _warn_of_another_classifier(place: SweepPlace, checked: CheckedClassifier) -> None:
    """Print a warning if the runs of a resumed sweep were measured by other weights.

    The trained classifier may have been deleted, or the sweep may have moved to another machine.
    """
    runs = place.tracker.find(sweep=place.name)
    earlier = {run.data.tags.get(CLASSIFIER_SHA256, "") for run in runs}
    for sha256 in sorted(earlier - {"", checked.about["sha256"]}):
        print_warning(
            f"the runs until now were measured by the classifier {sha256[:8]}, and "
            f"{checked.name} measures the next ones, because GENAE_HOME does not hold the first: "
            "their FCDs cannot be compared"
        )


def _shard_mapper(options: LaunchOptions) -> PartMapper:
    """A mapper that makes shards on the cluster, or in this process if there are few images."""

    def choose(job: PreparationPlan, specs: Sequence[Any]) -> PartMapper:
        pixels = sum(spec.last - spec.first for spec in specs) * math.prod(job.shape)
        if pixels < FEW_PIXELS:
            return map_here
        local = job.folder.local is not None and not options.shared_storage
        return ClusterMapper(node_local=local)

    return ChosenMapper(choose)


def _largest_memory() -> float:
    """The bytes of memory that a trial can have at most.

    --memory-per-trial may be lower: a trial that needs more than that fails alone.
    """
    return max(node.get("memory", math.inf) for node in ray_cluster.nodes())


def _budget(options: LaunchOptions) -> int:
    """The bytes of training images that a node may hold.

    The default is half of the object store, which all trials of a node share.
    """
    if options.budget_bytes is not None:
        return options.budget_bytes
    return int(ray_cluster.object_store_bytes() / 2)
