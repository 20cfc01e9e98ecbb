"""The measurements of claims on the models of finished runs, kept in a file and in MLflow."""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from genae_core.config.home import home
from genae_core.config.progress import track
from genae_core.data import sealed
from genae_core.data.load import LoadOptions, load_splits
from genae_core.evaluation.claim_measures import measure_claims
from genae_core.evaluation.code_measures import measure_codes, measure_density
from genae_core.evaluation.colour_measures import measure_colours
from genae_core.evaluation.comparison import EvaluatedChain
from genae_core.evaluation.realism_measures import measure_realism
from genae_core.evaluation.references import ReferenceData
from genae_core.experiment.classifier_display import classifier_callbacks
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.precision import has_bf16
from genae_core.metrics.classifier_cache import checked_classifier, load_classifier
from genae_core.metrics.estimate import Estimate
from genae_core.nets.base import ComputeConfig, compute_as
from genae_core.recipes.claim_runs import StoredClaim, split_cell
from genae_core.recipes.trained_model import TrainedModel, fetch_run_model, find_run
from genae_core.tracking.mlflow_store import StartedRun, StoredRun
from genae_core.tracking.store_errors import StoreError
from genae_core.training import checkpoint

MEASURED = "measures.json"  # in the folder of the ledger
FIRST = "chains"  # the measure of files that do not say what they hold


class Measure(NamedTuple):
    """What can be measured of a trained model.

    Attributes:
        of: Measures it. The names of values are those of metrics in MLflow; "NAME@STEP" is the
            metric chain/NAME at a step of the chain.
        needs: What the model or the data need for it, in words; empty for an autoencoder.
    """

    of: Callable[[EvaluatedChain], Mapping[str, Estimate]]
    needs: str = ""


MEASURES = {
    FIRST: Measure(measure_claims),
    "realism": Measure(measure_realism),
    "colours": Measure(measure_colours, "colour images"),
    "codes": Measure(measure_codes),
    "density": Measure(measure_density),
}


class Measured(NamedTuple):
    """What was measured of the models of runs.

    Attributes:
        values: The values by the id of a run, then by name; NAME_se is the error of NAME.
        measures: The names in MEASURES by the id of a run.
    """

    values: dict[str, dict[str, float]]
    measures: dict[str, list[str]]

    def write(self, folder: Path) -> None:
        """Write the file of these values."""
        content = {"measures": self.values, "kinds": self.measures}
        sealed.write(folder / MEASURED, content)


def read_measures(folder: Path) -> Measured:
    """What was measured before; nothing without a file.

    Raises ValueError if the file is damaged.
    """
    file = folder / MEASURED
    if not file.is_file():
        return Measured({}, {})
    stored = sealed.read(file)
    values = stored["measures"]
    return Measured(values, stored.get("kinds", {run_id: [FIRST] for run_id in values}))


def with_measures(
    runs: Sequence[StoredRun],
    claims: Sequence[StoredClaim],
    uri: str,
    folder: Path,
    shards: str | None = None,
) -> list[StoredRun]:
    """The runs, with what claims need of their models among the scalars.

    Each model is measured once. The values are then kept in the file measures.json, so that an
    interrupted command goes on where it was, and they are logged to the run in MLflow.

    Args:
        runs: Finished runs.
        claims: The claims.
        uri: The tracking URI of the store.
        folder: The folder of the file, which exists.
        shards: The folder or URI of the images, as shards; None is GENAE_HOME.
    """
    measured = read_measures(folder)
    needed = {run.run_id: _needs(run, claims) for run in runs}
    subjects = _Subjects(uri, shards)
    unmeasured = [
        run for run in runs if not needed[run.run_id] <= set(measured.measures.get(run.run_id, ()))
    ]
    for run in track(unmeasured, "measuring what claims need", "models"):
        former = measured.measures.get(run.run_id, [])
        names = [name for name in MEASURES if name in needed[run.run_id] and name not in former]
        values = measured.values.setdefault(run.run_id, {})
        values |= subjects.measure(run, names)
        measured.measures[run.run_id] = [*former, *names]
        measured.write(folder)
    _log([run for run in runs if run.run_id in measured.values], measured, uri)
    values_of = measured.values
    return [run._replace(scalars={**run.scalars, **values_of.get(run.run_id, {})}) for run in runs]


def _needs(run: StoredRun, claims: Sequence[StoredClaim]) -> set[str]:
    """The names in MEASURES that the claims need of this run."""
    model, _ = split_cell(json.loads(run.tags["cell"]))
    return {
        one.needs
        for one in claims
        if one.needs in MEASURES
        and run.tags["chain"] in one.chains
        and any(model in models for models in one.models)
    }


def _log(runs: Iterable[StoredRun], measured: Measured, uri: str) -> None:
    """Log what MLflow does not have yet; a line says so if the store cannot be written."""
    for run in runs:
        values = measured.values[run.run_id]
        plain = {name: value for name, value in values.items() if "@" not in name}
        if all(run.scalars.get(name) == value for name, value in plain.items()):
            continue
        rows = [(name, value, 0) for name, value in plain.items()]
        for name in values.keys() - plain.keys():
            metric, _, step = name.partition("@")
            rows.append((f"chain/{metric}", values[name], int(step)))
        try:
            tracker, stored = find_run(run.run_id, uri)
            tracker.log_metrics(StartedRun(run.run_id, stored.info.start_time), rows)
        except StoreError as error:
            print(
                "note: the store cannot be written, so what was measured on the models is in "
                f"{MEASURED} alone: {error}"
            )
            return


def compute_of(experiment: Experiment) -> ComputeConfig:
    """How the chains of a run were computed, as far as this CPU can: without bf16, in fp32."""
    compute = experiment.compute or ComputeConfig()
    precision = compute.precision if has_bf16() else "fp32"
    return dataclasses.replace(compute, precision=precision, cuda_graphs=False)


class _Subjects:
    """Loads the models of runs; images and classifiers are loaded once."""

    def __init__(self, uri: str, shards: str | None) -> None:
        self.uri = uri
        self.shards = shards
        # By the sha256 of the images and of the classifier.
        self.data: dict[tuple[str | None, str | None], ReferenceData] = {}

    def measure(self, run: StoredRun, names: Sequence[str]) -> dict[str, float]:
        """The measurements of a run's model; what is not finite is left out."""
        tracker, stored = find_run(run.run_id, self.uri)
        with tempfile.TemporaryDirectory() as scratch:
            source = fetch_run_model(tracker, stored, Path(scratch))
            model = checkpoint.load_model(source.folder)
        assert source.experiment is not None
        compute_as(model, compute_of(source.experiment))
        subject = EvaluatedChain(model, source.chain, self._data_of(source), None)
        values: dict[str, float] = {}
        for name in names:
            for key, one in MEASURES[name].of(subject).items():
                base, at, step = key.partition("@")
                values |= {key: one.value, f"{base}_se{at}{step}": one.error}
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
