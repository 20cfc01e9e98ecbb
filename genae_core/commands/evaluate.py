"""Measure samples at steps of a trained model's chain: FCD, kernel distance and classes.

The samples are the same as those of `genae sample`, but they are not stored, so that a million
samples need no more memory than a few. Precision and recall are measured only by a sweep, on 2,000
samples.

  genae evaluate RUN_ID --num-samples 1000000 --out report.json
  genae evaluate CHECKPOINT_FOLDER --dataset mnist --data-root DIR --steps 0 5 50
  genae evaluate RUN_ID --features dinov2 --weights dinov2_vitl14.safetensors
"""

import dataclasses
import math
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

import genae_core as genae
from genae_core import data, evaluation, experiment, metrics, recipes, report
from genae_core.config import require, require_gpus, require_positive_int, to_strict_json
from genae_core.config.home import home
from genae_core.config.places import locate_fields
from genae_core.config.progress import ProgressDisplay
from genae_core.config.redaction import redact_uri
from genae_core.data.parts import ChosenMapper, PartMapper, map_here
from genae_core.data.storage import Folder
from genae_core.recipes.options import DataOptions
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper

FEW = 20_000  # this process measures fewer samples before a cluster would have started


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The flags of this command.

    The flags about data are for a checkpoint; a run and an export know their data, and take only
    --data-root, where the files are now, and --shards. Their samples are measured by the run's own
    classifier, unless --classifier names the other kind.
    """

    source: Annotated[str, tyro.conf.Positional]
    """Id of an MLflow run, or the folder of an export or of a checkpoint."""
    out: Path | None = None
    """JSON file for the results, which must not exist yet (default: none)."""
    num_samples: int = 10_000
    """Number of samples."""
    steps: tuple[int, ...] | None = None
    """Steps of the chain at which samples are measured, ascending from 0 (default: the run's; for
    a checkpoint those of the published chain)."""
    batch_norm: Literal["batch", "running"] | None = None
    """Statistics of batch normalisation (default: the run's; for a checkpoint "batch")."""
    features: Literal["inception", "dinov2"] | None = None
    """Pretrained network whose features are compared too: the FID or the FD-DINOv2. It needs
    --weights and pip install 'genae[features]' (default: none)."""
    weights: Path | None = None
    """The .safetensors file of that network's weights, which is yours; nothing is downloaded."""
    seed: int | None = None
    """Seed of the chains (default: the run's; for a checkpoint 0)."""
    tracking_uri: str | None = None
    """MLflow store of the run (default: mlflow.db in GENAE_HOME)."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; a fraction lets several workers share one GPU."""
    ray_address: str | None = None
    """Address of the Ray cluster to join, e.g. auto (default: RAY_ADDRESS; without it the job
    starts its own Ray if it needs one)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        locate_fields(self, "out", "weights", "tracking_uri")
        require_positive_int(num_samples=self.num_samples)
        require_gpus(gpus_per_worker=self.gpus_per_worker)
        require(
            (self.features is None) == (self.weights is None),
            "--features and --weights belong together: give both, or none",
            features=self.features,
            weights=self.weights,
        )


class Subject(NamedTuple):
    """A trained model's chain, and the data to compare its samples with.

    is_run: Whether the model is of a run or of its export, whose classifier was chosen when it
        was made.
    measured_by: The sha256 (hex) of the weights of the run's classifier; None if it is not known.
    metrics: The run's metrics of the user's own.
    recommended: The recommended step of the run; None if it does not say one.
    """

    chain: "evaluation.PortableChain"
    data: "genae.DataConfig"
    splits: "genae.Splits"
    classifier: "genae.ClassifierConfig"
    is_run: bool
    measured_by: str | None
    metrics: "tuple[metrics.SampleMetric, ...]"
    recommended: int | None


def table(results: "evaluation.EvaluationReport", blind: bool = False) -> str:
    """The metrics with their standard errors, one row for each step.

    blind: Whether the classifier measures nothing, so that there is no ratio to real images.
    """
    has_refusals = any(step.accepted is not None for step in results.steps)
    has_classes = any(step.classes for step in results.steps)
    head = ["step", "FCD", "FCD/real", "kernel distance"]
    head += ["class entropy"] * has_classes + ["accepted"] * has_refusals
    for name in results.distance_floors:
        head += [metrics.LABELS[name], f"{metrics.LABELS[name]}/real"]
    rows = [head + list(results.metric_floors)]
    for step in results.steps:
        ratio = "n/a" if blind else _ratio(step.fcd.value, results.floor)
        row = [str(step.step), _with_error(step.fcd), ratio, _with_error(step.kid)]
        row += [f"{step.class_entropy:.3f}"] if has_classes else []
        row += [f"{step.accepted:.3f}"] if has_refusals else []
        for name, floor in results.distance_floors.items():
            row += [_with_error(step.distances[name]), _ratio(step.distances[name].value, floor)]
        rows.append(row + [_with_error(step.metrics[name]) for name in results.metric_floors])
    return report.align_columns(rows)


def _ratio(distance: float, floor: float) -> str:
    """The distance divided by that of real images; n/a if theirs is 0."""
    return f"{distance / floor:.2f}" if floor > 0 else "n/a"


def _with_error(estimate: tuple[float, float]) -> str:
    """The value in words, with its standard error if it has one; n/a if there is no value."""
    value, error = estimate
    if not math.isfinite(value):
        return "n/a"
    return f"{value:.4g} ± {error:.2g}" if math.isfinite(error) else f"{value:.4g}"


def main(options: Options) -> int:
    """Measure, print the table, and write the JSON file."""
    began = time.perf_counter()
    ray_cluster.check_cluster(options.ray_address)
    _check_out(options.out)
    pretrained = _load_pretrained(options)
    subject = _load_subject(options)
    _check_names(subject, pretrained)
    checked = _check_classifier(subject, options)
    classifier = metrics.load_classifier(checked.folder)
    references = genae.ReferenceData(
        subject.splits,
        classifier,
        subject.data.binarize,
        pretrained=tuple(loaded.extractor for loaded in pretrained),
    )
    results = _measure(options, subject, references)
    distances = {metrics.LABELS[name]: floor for name, floor in results.distance_floors.items()}
    floors = {"FCD": results.floor, **distances, **results.metric_floors}
    real = ", ".join(f"{name} {value:.4g}" for name, value in floors.items())
    print(
        f"{results.num_samples:,} samples against {results.num_real:,} test images of "
        f"{subject.data.name}; real training images: {real}\n"
        f"{table(results, checked.ruler.is_blind)}"
    )
    if subject.metrics:
        print(
            f"{', '.join(results.metric_floors)}: means over blocks of {results.metric_images:,} "
            "samples against as many test images"
        )
    if subject.recommended is not None:
        print(f"recommended step of the run: {subject.recommended}, {report.RECOMMENDED_IS}")
    print(f"ruler: {checked.ruler.line}; classifier {checked.name}")
    for loaded in pretrained:
        label = loaded.extractor.names.label
        print(f"{label}: weights {loaded.sha256[:8]}, {loaded.extractor.num_features} features")
    _print_warnings(results, references, subject.chain.chain.sub_batch)
    if options.out is not None:
        about: dict[str, Any] = {"ruler": checked.ruler.line, "classifier": checked.name}
        about["classifier_sha256"] = checked.about["sha256"]
        about |= {"recommended_step": subject.recommended}
        for loaded in pretrained:
            about[f"{loaded.extractor.names.key}_weights_sha256"] = loaded.sha256
        text = to_strict_json({**_to_json(options, results), **about})
        Folder(options.out.parent).write(options.out.name, text.encode())
    print(f"{time.perf_counter() - began:.1f} s")
    return 0


def _print_warnings(
    results: "evaluation.EvaluationReport", references: "genae.ReferenceData", sub_batch: int
) -> None:
    """Print what makes the figures less certain than they look."""
    warnings = [
        *results.failures,
        metrics.few_images_warning(results.num_samples, references.classifier.num_features),
    ]
    fewest = min(results.num_samples, results.num_real)
    for network in references.pretrained:
        name = network.names.label
        warnings.append(metrics.few_images_warning(fewest, network.num_features, name))
    if results.num_samples <= sub_batch:
        warnings.append(
            f"all samples are in one sub-batch of {sub_batch} chains, so the metrics have no "
            "standard errors: use a larger --num-samples"
        )
    for warning in warnings:
        if warning:
            print(f"warning: {warning}")


def _load_pretrained(options: Options) -> "list[metrics.PretrainedFile]":
    """Build the pretrained network of the flags, if there is one."""
    if options.features is None or options.weights is None:
        return []
    return [metrics.load_pretrained(options.features, options.weights)]


def _check_names(subject: Subject, pretrained: "list[metrics.PretrainedFile]") -> None:
    """Raise ValueError if a metric of the user's own has the name of a distance."""
    own = {metric.name.lower() for metric in subject.metrics}
    for loaded in pretrained:
        names = loaded.extractor.names
        require(
            not own & {names.key, f"{names.key}_floor"},
            f"the run has a metric of your own with the name of the {names.label}: leave "
            "--features out",
            name=names.key,
        )


def _check_out(out: Path | None) -> None:
    """Raise ValueError if the results could not be written."""
    if out is not None:
        require(not out.exists(), "--out must not exist yet", out=out)
        require(out.parent.is_dir(), f"--out: there is no folder {out.parent}", out=out)
        Folder(out.parent).check_writable()


def _load_subject(options: Options) -> Subject:
    """Read the checkpoint and the data, and fit the chain's prior if it has one."""
    with tempfile.TemporaryDirectory() as scratch:
        source = recipes.fetch_trained_model(options.source, options.tracking_uri, Path(scratch))
        chain = source.chain_with(options.batch_norm, options.seed)
        record = chain.record if options.steps is None else options.steps
        chain = dataclasses.replace(chain, record=record, num_chains=None)
        # A checkpoint alone does not say what data and classifier belong to it.
        origin = (
            recipes.dataset_recipe(options) if source.experiment is None else source.experiment
        )
        images = origin.data
        if source.experiment is not None and options.shards is None:
            images = data.choose_root(images, options.data_root)
        device = "cuda" if options.gpus_per_worker > 0 else "cpu"
        portable = evaluation.read_portable_chain(source.folder, chain, device=device)
        loading = genae.LoadOptions(
            shards=options.shards, max_rejected=options.max_rejected, budget=options.budget_bytes
        )
        splits = genae.load_splits(images, home(), loading)
        source.warn_of_other_images(splits)
        portable = portable._replace(fitted_prior=source.fitted_prior(chain, splits))
    return Subject(
        chain=portable,
        data=images,
        splits=splits,
        classifier=origin.classifier,
        is_run=source.experiment is not None,
        measured_by=source.classifier_sha256,
        metrics=() if source.experiment is None else source.experiment.metrics,
        recommended=source.steps,
    )


def _check_classifier(subject: Subject, options: Options) -> "metrics.CheckedClassifier":
    """Load the dataset's classifier, or train it, and print its accuracy.

    A run keeps the classifier that it was made with, unless a flag names the other one. Raises
    ValueError if another one than the run's is blind.
    """
    images = (subject.data, subject.splits)
    if subject.is_run and options.classifier is None:
        checked = metrics.checked_classifier(
            subject.classifier,
            *images,
            home() / "classifiers",
            retrain=False,
            callbacks=experiment.classifier_callbacks(*images),
        )
    else:
        checked = experiment.sound_classifier(subject.classifier, *images, options.classifier)
    accuracy = f"{checked.about['accuracy']:.2%} accurate on held-out images"
    print(f"classifier {checked.name}: {accuracy}")
    if subject.measured_by not in (None, checked.about["sha256"]):
        print(
            f"warning: the run was measured by the classifier {subject.measured_by[:8]}, so its "
            "FCDs cannot be compared with these"
        )
    return checked


def _measure(
    options: Options, subject: Subject, references: "genae.ReferenceData"
) -> "evaluation.EvaluationReport":
    """Measure in this process or on a cluster, and show the progress."""

    def choose(*_: Any) -> PartMapper:
        needs_cluster = options.ray_address or options.gpus_per_worker > 0
        if options.num_samples <= FEW and not needs_cluster:
            return map_here
        stack.callback(ray_cluster.disconnect)
        ray_cluster.connect(options.ray_address)
        return ClusterMapper(num_gpus=options.gpus_per_worker)

    shown = ProgressDisplay("measuring", options.num_samples, "samples")
    with shown as progress, ExitStack() as stack:
        try:
            return evaluation.measure(
                subject.chain,
                references,
                num_samples=options.num_samples,
                mapper=ChosenMapper(choose),
                on_part=progress.update,
                metrics=subject.metrics,
            )
        except FloatingPointError as error:
            raise ValueError(str(error)) from None


def _to_json(options: Options, results: "evaluation.EvaluationReport") -> dict[str, Any]:
    """The report as JSON values. It has no keys of metrics of the user's own without them."""
    values = {**results._asdict(), "steps": [_step_to_json(step) for step in results.steps]}
    if not results.metric_floors:
        for name in ("metric_images", "metric_floors", "failures"):
            del values[name]
    if not results.distance_floors:
        del values["distance_floors"]
    return {"source": redact_uri(options.source), **values}


def _step_to_json(step: "evaluation.StepMetrics") -> dict[str, Any]:
    """The metrics of one step as JSON values, with NAME and NAME_se of the user's own."""
    own: dict[str, float] = {}
    for name, estimate in (step.distances | step.metrics).items():
        own |= {name: estimate.value, f"{name}_se": estimate.error}
    return {
        "step": step.step,
        "fcd": step.fcd.value,
        "fcd_se": step.fcd.error,
        "kid": step.kid.value,
        "kid_se": step.kid.error,
        "classes": step.classes,
        "accepted": step.accepted,
        **own,
    }
