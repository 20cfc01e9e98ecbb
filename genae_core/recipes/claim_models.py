"""The measurements of claims on the trained models of finished runs, kept in a file."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from genae_core.config.home import home
from genae_core.data import sealed
from genae_core.data.load import LoadOptions, load_splits
from genae_core.evaluation.claim_measures import CLAIM_MEASURES, measure_claims
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.references import ReferenceData
from genae_core.experiment.classifier_display import classifier_callbacks
from genae_core.metrics.classifier_cache import checked_classifier, load_classifier
from genae_core.recipes.claim_runs import CHAINS
from genae_core.recipes.trained_model import TrainedModel, fetch_run_model, find_run
from genae_core.tracking.mlflow_store import StoredRun
from genae_core.training import checkpoint

MEASURED = "measures.json"  # in the folder of the ledger

Measures = dict[str, dict[str, float]]  # by the id of a run, then by name


def with_measures(
    runs: Sequence[StoredRun],
    families: Sequence[str],
    uri: str,
    folder: Path,
    shards: str | None = None,
) -> list[StoredRun]:
    """The runs, with what claims need of their models among the scalars.

    Each model is measured once and then kept in the file measures.json, so that an interrupted
    command goes on where it was.

    Args:
        runs: Finished runs.
        families: The families whose runs are measured.
        uri: The tracking URI of the store.
        folder: The folder of the file, which exists.
        shards: The folder or URI of the images, as shards; None is GENAE_HOME.
    """
    measures = read_measures(folder)
    needed = [run for run in runs if _is_needed(run, families) and run.run_id not in measures]
    subjects = _Subjects(uri, shards)
    for run in tqdm(needed, unit=" models", disable=None):
        measures[run.run_id] = subjects.measure(run)
        sealed.write(folder / MEASURED, {"measures": measures})
    return [run._replace(scalars={**run.scalars, **measures.get(run.run_id, {})}) for run in runs]


def _is_needed(run: StoredRun, families: Sequence[str]) -> bool:
    """Whether the run has the published chain, and a family that claims name."""
    family = json.loads(run.tags["cell"]).get("family")
    return run.tags["chain"] in CHAINS and family in families


def read_measures(folder: Path) -> Measures:
    """What was measured before; nothing without a file.

    Raises ValueError if the file is damaged.
    """
    file = folder / MEASURED
    if not file.is_file():
        return {}
    measures: Measures = sealed.read(file)["measures"]
    return measures


class _Subjects:
    """Loads the models of runs; images and classifiers are loaded once."""

    def __init__(self, uri: str, shards: str | None) -> None:
        self.uri = uri
        self.shards = shards
        # By the sha256 of the images and of the classifier.
        self.data: dict[tuple[str | None, str | None], ReferenceData] = {}

    def measure(self, run: StoredRun) -> dict[str, float]:
        """The measurements of a run's model; what is not finite is left out."""
        tracker, stored = find_run(run.run_id, self.uri)
        with tempfile.TemporaryDirectory() as scratch:
            source = fetch_run_model(tracker, stored, Path(scratch))
            model = checkpoint.load_model(source.folder)
        subject = EvaluatedChain(model, source.chain, self._data_of(source), None)
        values = measure_claims(subject)
        assert set(values) <= set(CLAIM_MEASURES)
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _data_of(self, source: TrainedModel) -> ReferenceData:
        """The images and the classifier of a run."""
        key = source.data_sha256, source.classifier_sha256
        if key not in self.data:
            experiment = source.experiment
            assert experiment is not None
            data = experiment.data
            splits = load_splits(data, home(), LoadOptions(shards=self.shards))
            source.warn_of_other_images(splits)
            checked = checked_classifier(
                experiment.classifier,
                data,
                splits,
                home() / "classifiers",
                retrain=False,
                callbacks=classifier_callbacks(data, splits),
            )
            classifier = load_classifier(checked.folder)
            self.data[key] = ReferenceData(splits, classifier, data.binarize)
        return self.data[key]
