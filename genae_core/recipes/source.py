"""What a job samples: a run in MLflow, or a checkpoint's folder."""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from genae_core import config
from genae_core.config.home import default_store, home
from genae_core.data.base import Splits
from genae_core.data.load import load_splits
from genae_core.distributions.base import Distribution
from genae_core.evaluation.chains import fit_prior
from genae_core.experiment.experiment import Experiment
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.tracking.mlflow_store import Tracker
from genae_core.tracking.store_uri import resolve_uri
from genae_core.training import checkpoint


class Trained(NamedTuple):
    """folder: of the checkpoint. chain: the run's, or the published one. steps: recommended, None
    where nothing is known. experiment: None for a checkpoint alone."""

    folder: Path
    chain: ChainConfig
    steps: int | None
    experiment: Experiment | None

    def chain_with(
        self, batch_norm: Literal["batch", "running"] | None, seed: int | None
    ) -> ChainConfig:
        """The chain, with what the flags change."""
        changes = {"batch_norm": batch_norm, "seed": seed}
        given = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(self.chain, **given)  # type: ignore[arg-type]

    def fitted_prior(
        self, chain: ChainConfig, splits: Splits | None = None
    ) -> Distribution | None:
        """The chain's law, fitted anew to the codes of the run's own training images, which are
        read where they are not given."""
        if chain.fitted_prior is None or self.experiment is None:
            return None
        data = self.experiment.data
        splits = splits or load_splits(data, home())
        model = checkpoint.load_model(self.folder)
        return fit_prior(model, chain, splits, data.binarize, torch.device("cpu"))


def trained(source: str, tracking_uri: str | None, scratch: Path) -> Trained:
    """The source, its checkpoint fetched below `scratch` where it is a run.

    Raises ValueError for a folder without a checkpoint, and for a run that is not there, has not
    finished, or whose model has none.
    """
    if Path(source).exists():
        return Trained(Path(source), ChainConfig(sampler=EncodeDecode()), None, None)
    if "/" in source:
        raise ValueError(f"there is no folder {source}; give a checkpoint's, or an MLflow run id")
    uri = resolve_uri(tracking_uri or default_store())
    tracker = Tracker(uri, "")
    run = tracker.get_run(source)
    tracker.experiment_id = run.info.experiment_id
    if run.info.status != "FINISHED":
        raise ValueError(f"run {source} has no result yet: it is {run.info.status}")
    # Runs of one training share the model of the first.
    owners = tracker.find(key=run.data.tags.get("model_run", ""))
    names = [a.path for run in owners for a in tracker.client.list_artifacts(run.info.run_id)]
    if "checkpoint" not in names or "experiment.json" not in names:
        raise ValueError(f"run {source} has no checkpoint: it is not one of a genae sweep")
    folder = tracker.fetch(owners[0].info.run_id, "checkpoint", scratch)
    text = tracker.fetch(source, "experiment.json", scratch).read_text()
    experiment: Experiment = config.from_json(text)
    steps = run.data.metrics.get("fcd_recommended_step")
    return Trained(folder, experiment.chains[0], None if steps is None else int(steps), experiment)
