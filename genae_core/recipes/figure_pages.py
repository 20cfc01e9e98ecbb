"""What the printed figures of Creswell et al. and of Sridhar & Srivastava share.

Each is one page for several models, or one for each model, with the deviations in its caption.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from genae_core.data.base import Splits
from genae_core.experiment.experiment import Experiment
from genae_core.models.base import Autoencoder
from genae_core.recipes.paper_settings import describe_deviations
from genae_core.recipes.pictures import first_models, model_of
from genae_core.tracking.mlflow_store import CHAIN_METRICS, StoredRun, Tracker

# The terms of the losses that figures show, as the store names them.
LOSSES = ("train/code_critic", "train/generator", "train/flow")
Deviations = Callable[[Experiment, Splits], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model that figures show.

    Args:
        family: The family's name in FAMILIES.
        run: The run that holds it, with the histories of the FCD and of LOSSES.
        model: The model.
        experiment: Its experiment.
    """

    family: str
    run: StoredRun
    model: Autoencoder
    experiment: Experiment

    @property
    def name(self) -> str:
        """The family's name in the literature."""
        return self.experiment.model.family


@dataclass(frozen=True, kw_only=True)
class FigurePages:
    """The place of the figures of a sweep, and what their captions say.

    Args:
        tracker: The store of the sweep; the runs get the figures as artifacts.
        splits: The images.
        folder: The folder of the figures.
        deviations: What differs from the paper in an experiment.
        settings: The settings that --set has changed.
    """

    tracker: Tracker
    splits: Splits
    folder: Path
    deviations: Deviations
    settings: tuple[str, ...] = ()

    def subjects(self, sweep: str, experiments: Mapping[str, Experiment]) -> Iterator[Subject]:
        """The models of the lowest seed of each family that has finished.

        Args:
            sweep: The sweep's name.
            experiments: The experiments by family, in the order of the figures.
        """
        models = first_models(self.tracker, sweep, (*CHAIN_METRICS, *LOSSES))
        runs = {run.tags["family"]: run for run in models}
        for family, experiment in experiments.items():
            run = runs.get(experiment.model.family)
            if run is not None:
                model = model_of(self.tracker, run)
                assert isinstance(model, Autoencoder)
                yield Subject(family=family, run=run, model=model, experiment=experiment)

    def caption(self, text: str, subjects: Iterable[Subject], *more: str) -> str:
        """The caption of a figure: what it shows, and in a line below, the deviations.

        Args:
            text: What the figure shows.
            subjects: The models that it shows.
            more: Further deviations.
        """
        own = [line for one in subjects for line in self.deviations(one.experiment, self.splits)]
        changed = [f"changed setting {setting}" for setting in self.settings]
        return f"{text}\n{describe_deviations((*own, *changed, *more))}"

    def keep(self, subjects: Iterable[Subject], files: Iterable[Path]) -> None:
        """Put the files of a figure into the artifacts of the runs, and print their names."""
        for file in files:
            for subject in subjects:
                self.tracker.log_files(subject.run.run_id, file, "figures")
            print(f"drawn:  {file}")


def fcd_images(subjects: Iterable[Subject]) -> str:
    """A sentence of a caption that says of how many images the FCDs of these models are."""
    counts = {int(subject.run.scalars["fcd_images"]) for subject in subjects}
    return f"The FCD compares {', '.join(f'{count:,}' for count in sorted(counts))} test images."


@dataclass(frozen=True, kw_only=True)
class FigureSizes:
    """Sizes of a figure's experiment that flags change; None leaves one as it is.

    Args:
        latent_dim: The latent dimension; None is the paper's.
        images: The number of training images.
        chains: The number of chains whose samples the FCD compares with images.
    """

    latent_dim: int | None = None
    images: int | None = None
    chains: int | None = None

    def apply(self, experiment: Experiment) -> Experiment:
        """The experiment with these numbers of images and chains."""
        if self.images is not None:
            assert experiment.training is not None
            training = replace(experiment.training, max_images=self.images)
            experiment = replace(experiment, training=training)
        if self.chains is not None:
            chains = (replace(chain, num_chains=self.chains) for chain in experiment.chains)
            experiment = replace(experiment, chains=tuple(chains))
        return experiment
