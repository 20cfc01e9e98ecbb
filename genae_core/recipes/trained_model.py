"""The trained model that a job samples: of an MLflow run, of an export, or of a checkpoint.

An export is a checkpoint whose description also holds what a sampling job needs of the run, under
the key "export". So it needs no store, and whatever reads checkpoints reads it too.
"""

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from genae_core import config
from genae_core.config import require
from genae_core.config.home import default_store, home
from genae_core.config.places import is_uri, locate
from genae_core.config.progress import ProgressDisplay
from genae_core.config.registry import say_what_to_trust
from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.data.roots import choose_root
from genae_core.distributions.base import Distribution
from genae_core.evaluation.chains import fit_prior
from genae_core.experiment.experiment import Experiment
from genae_core.report.steps import RECOMMENDED
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import key_of_identity
from genae_core.tracking.mlflow_store import CLASSIFIER_SHA256, Tracker
from genae_core.tracking.store_uri import resolve_uri
from genae_core.training import checkpoint

# The key of a checkpoint's description under which an export holds what it knows of the run.
EXPORT = "export"


class StoredExperiment(NamedTuple):
    """The experiment of a run or of an export, whose parts are read when they are needed.

    Attributes:
        values: The JSON values.
        own_code: Where the user's own classes in it were defined (see `config.own_definitions`).
        source: The run or the folder, for messages.
    """

    values: dict[str, Any]
    own_code: Any
    source: str

    def read(self) -> Experiment:
        """The whole experiment. Raises ValueError if one of its classes is not known."""
        experiment: Experiment = self._read(self.values)
        return experiment

    def chain(self) -> ChainConfig:
        """The config of its chain. Raises ValueError if one of its classes is not known."""
        chain: ChainConfig = self._read(self.values["chains"][0])
        return chain

    def _read(self, values: dict[str, Any]) -> Any:
        with say_what_to_trust(self.own_code, self.source):
            read = config.from_dict(values)
            config.own_definitions(read)  # raises if one of its functions is not known
            return read


class TrainedModel(NamedTuple):
    """A trained model and its chain.

    Attributes:
        folder: The folder of the checkpoint.
        chain: The run's chain config; for a checkpoint, the config of the published chain.
        steps: The number of steps that the run recommends; None if it recommends none.
        stored: The run's experiment as it is stored; None for a checkpoint alone.
        data_sha256: The sha256 (hex) of the run's images; None if it is not known.
        classifier_sha256: The sha256 (hex) of the weights of the classifier that has measured the
            run; None if it is not known.
    """

    folder: Path
    chain: ChainConfig
    steps: int | None
    stored: StoredExperiment | None = None
    data_sha256: str | None = None
    classifier_sha256: str | None = None

    @property
    def experiment(self) -> Experiment | None:
        """The run's experiment; None for a checkpoint alone.

        Raises ValueError if one of its classes is not known, as the dataset's may be, which the
        samples of most chains do not need.
        """
        return None if self.stored is None else self.stored.read()

    def chain_with(
        self, batch_norm: Literal["batch", "running"] | None, seed: int | None
    ) -> ChainConfig:
        """The chain config with the values of these flags; None changes nothing."""
        chain = self.chain
        if batch_norm is not None:
            chain = dataclasses.replace(chain, batch_norm=batch_norm)
        return chain if seed is None else dataclasses.replace(chain, seed=seed)

    def warn_of_other_images(self, splits: Splits) -> None:
        """Print a warning if the images are not those of the run."""
        if self.data_sha256 not in (None, splits.sha256):
            print(
                f"warning: these images are not those of the run: their sha256 is {splits.sha256} "
                f"and the run's is {self.data_sha256}"
            )

    def fitted_prior(
        self, chain: ChainConfig, splits: Splits | None = None, data_root: str | None = None
    ) -> Distribution | None:
        """The fitted prior of a chain, fitted again to the codes of the run's training images.

        Args:
            chain: The chain's config.
            splits: The images of the run; None reads them.
            data_root: The root of the run's files if they have moved, to read the images.

        Returns:
            The fitted prior; None if the chain starts from the model's own prior.
        """
        if chain.fitted_prior is None or self.experiment is None:
            return None
        data = self.experiment.data
        if splits is None:
            splits = load_splits(choose_root(data, data_root), home())
            self.warn_of_other_images(splits)
        model = checkpoint.load_model(self.folder)
        with ProgressDisplay("fitting the prior to the codes of training images"):
            return fit_prior(model, chain, splits, binarize=data.binarize, device="cpu")


def fetch_trained_model(source: str, tracking_uri: str | None, scratch: Path) -> TrainedModel:
    """Fetch the trained model of a run, of an export or of a checkpoint.

    Args:
        source: The id of an MLflow run, or the folder of an export or of a checkpoint.
        tracking_uri: The MLflow store of the run; None is mlflow.db in GENAE_HOME.
        scratch: The folder below which the checkpoint of a run is put.

    Returns:
        The model and its chain.

    Raises:
        ValueError: There is no such folder, or its description is missing, broken or changed; or
            the run does not exist, has not finished, or does not belong to a genae sweep.
    """
    folder = locate(source, "the checkpoint or run")
    if not is_uri(folder) and Path(folder).exists():
        return _open_folder(Path(folder))
    if "/" in source:
        raise ValueError(
            f"there is no folder {source}; give the folder of a checkpoint or of an export, or an "
            "MLflow run id"
        )
    try:
        tracker, run = find_run(source, tracking_uri)
    except ValueError as error:
        raise ValueError(f"{error}; nor is there a folder {source!r} here") from None
    with ProgressDisplay("fetching the model"):
        return fetch_run_model(tracker, run, scratch)


def _open_folder(folder: Path) -> TrainedModel:
    """The trained model in the folder of an export or of a checkpoint."""
    description = checkpoint.read_description(folder)
    about = description.get(EXPORT)
    if about is None:
        return TrainedModel(folder, ChainConfig(sampler=EncodeDecode()), None)
    try:
        values, steps = about["experiment"], about["recommended_step"]
        stored = StoredExperiment(config.canonicalize(values), about[config.OWN_CODE], str(folder))
        return TrainedModel(folder, stored.chain(), steps, stored, about["data_sha256"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{folder / checkpoint.DESCRIPTION} holds no whole export: {error!r}"
        ) from None


def fetch_run_model(tracker: Tracker, run: Any, scratch: Path) -> TrainedModel:
    """Fetch the trained model of a run.

    Args:
        tracker: The store of the run, as `find_run` returns it.
        run: MLflow's run.
        scratch: The folder below which the checkpoint is put.

    Returns:
        The model and its chain.

    Raises:
        ValueError: The run has not finished, or does not belong to a genae sweep.
    """
    source, tags = run.info.run_id, run.data.tags
    if run.info.status != "FINISHED":
        raise ValueError(f"run {source} has no result: its status is {run.info.status}")
    if "summary" in tags:
        raise ValueError(
            f"run {source} has no checkpoint: it is the summary of the sweep {tags['summary']!r}; "
            "give the id of one of the sweep's runs"
        )
    # The runs of one training share the model of the first.
    owners = tracker.find(key=tags.get("model_run", ""))
    names = [a.path for owner in owners for a in _artifacts(tracker, owner)]
    if "checkpoint" not in names or "experiment.json" not in names:
        raise ValueError(f"run {source} has no checkpoint: it does not belong to a genae sweep")
    checkpoint_folder = tracker.fetch(owners[0].info.run_id, "checkpoint", scratch)
    stored = _experiment_of(tracker, run, scratch)
    recommended = run.data.metrics.get(RECOMMENDED)
    steps = None if recommended is None else int(recommended)
    return TrainedModel(
        folder=checkpoint_folder,
        chain=stored.chain(),
        steps=steps,
        stored=stored,
        data_sha256=tags.get("data_sha256"),
        classifier_sha256=tags.get(CLASSIFIER_SHA256),
    )


def _artifacts(tracker: Tracker, run: Any) -> list[Any]:
    """The topmost files and folders among a run's artifacts."""
    return list(tracker.client.list_artifacts(run.info.run_id))


def fetch_experiment(run_id: str, tracking_uri: str | None) -> Experiment:
    """Fetch the experiment of a run, complete as it was trained.

    Args:
        run_id: The id of an MLflow run.
        tracking_uri: The MLflow store of the run; None is mlflow.db in GENAE_HOME.

    Raises:
        ValueError: The run does not exist, or does not belong to a genae sweep.
    """
    tracker, run = find_run(run_id, tracking_uri)
    names = [file.path for file in _artifacts(tracker, run)]
    if "experiment.json" not in names:
        raise ValueError(f"run {run_id} has no experiment: it does not belong to a genae sweep")
    with tempfile.TemporaryDirectory() as scratch:
        return _experiment_of(tracker, run, Path(scratch)).read()


def find_run(run_id: str, tracking_uri: str | None) -> tuple[Tracker, Any]:
    """Find a run.

    Args:
        run_id: The id of an MLflow run.
        tracking_uri: The MLflow store of the run; None is mlflow.db in GENAE_HOME.

    Returns:
        The store with the run's MLflow experiment, and MLflow's run.

    Raises:
        ValueError: The run does not exist.
    """
    tracker = Tracker(resolve_uri(tracking_uri or default_store()), "")
    run = tracker.get_run(run_id)
    tracker.experiment_id = run.info.experiment_id
    return tracker, run


def _experiment_of(tracker: Tracker, run: Any, scratch: Path) -> StoredExperiment:
    """The experiment in a run's artifacts. Raises ValueError if the file is damaged."""
    run_id, tags = run.info.run_id, run.data.tags
    text = tracker.fetch(run_id, "experiment.json", scratch).read_text()
    values = config.canonicalize(json.loads(text))
    stored = StoredExperiment(values, _own_code(tags), f"run {run_id}")
    # The key is a digest of everything in the file that decides the result.
    require(
        tags.get("key")
        == key_of_identity(tags.get("sweep", ""), config.stored_identity(stored.values)),
        f"experiment.json of run {run_id} is damaged: it is not what the run's key was made of",
        key=tags.get("key"),
    )
    return stored


def _own_code(tags: Mapping[str, str]) -> Any:
    """What a run says of the code of its own classes; None if it says nothing that can be read."""
    try:
        return json.loads(tags.get(config.OWN_CODE, "null"))
    except ValueError:
        return None
