"""The flags that studies and jobs share: about the data, the families and their settings.

No module that is imported here imports torch, so that help is printed at once.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from genae_core import recipes
from genae_core.config import require, require_positive_int
from genae_core.config.home import home_path
from genae_core.config.places import local_path, locate_fields, sqlite_uri
from genae_core.config.redaction import redact_uri
from genae_core.recipes.dataset_names import FileDataset
from genae_core.recipes.families import FAMILIES, PAPER, families_that_need_noise
from genae_core.sweep.options import ClassifierOptions, LaunchOptions, ShardOptions

if TYPE_CHECKING:
    FamilyName = str
else:
    FamilyName = Literal[tuple(FAMILIES)]  # the choices of a flag
Dataset = Literal["digits", FileDataset]
UsualSampler = Literal["encode_decode", "clean", "sample", "refined", "langevin", "metropolis"]
SamplerName = Literal[
    UsualSampler,
    "annealed",
    "selected",
    "selected_clean",
    "selected_metropolis",
    "resampled",
    "fitted_flow",
]
Figure = Literal[
    "gaussian_aae",
    "gaussian_vae",
    "mixture_aae",
    "mixture_vae",
    "semi_supervised",
    "swiss_roll",
    "style",
]
CreswellFigure = Literal["samples", "interpolations", "denoising"]
SridharFigure = Literal["samples", "losses", "tsne"]
FigureName = Literal[Figure, CreswellFigure, SridharFigure]
FigurePaper = Literal["makhzani", "creswell", "sridhar"]
Paper = Literal["creswell", "makhzani", "sridhar", "slides"]
ParzenFamily = Literal["aae", "gmmn_ae", "gan", "gmmn"]
ClaimName = Literal[
    "improves",
    "lasts",
    "approaches",
    "mixes",
    "narrow-codes",
    "closer-prior",
    "more-in-aae",
    "alike-at-start",
    "denoising-at-start",
    "denoising-later",
    "reaches",
    "forgets",
    "good-stay",
    "paths",
    "spherical",
    "denoises",
    "copies",
    "novel",
    "desaturates",
    "flattens",
    "fills",
    "matches",
    "likelihood-order",
    "posteriors",
    "beats-vae",
    "flow-best",
    "planar-worst",
    "slow-sampling",
    "slow-training",
    "realnvp-best",
    "wgan-better",
    "wgan-steadier",
    "joint-worse",
    "convolutional-worse",
    "pure-neighbours",
    "compact",
    "compact-tsne",
    "flow-falls",
    "flow-smoother",
    "f-gan-optimum",
    "mode-seeking",
    "gan-saturates",
    "wgan-keeps-gradient",
    "loss-tracks-quality",
    "gans-beat-vae",
    "mmd-gan-halves",
    "gp-trains-all",
    "others-fail",
    "gamma-recall",
    "gamma-precision",
    "infogan-classes",
    "infogan-information",
    "infogan-slant",
    "infogan-width",
    "beta-narrows",
    "wae-order",
    "bigan-stationary",
]
NOISE = 0.5  # Creswell et al. 2017, section 4.3: N(x, 0.25 I)


@dataclass(frozen=True, kw_only=True)
class DataOptions(ClassifierOptions, ShardOptions):
    """The flags about data."""

    dataset: Dataset = "digits"
    """Dataset. digits comes with scikit-learn and needs no files; the others need --data-root."""
    data_root: Annotated[str | None, tyro.conf.arg(aliases=["--raw"])] = None
    """Folder or URI of the dataset's official files, or of your own images; for arrays, an .npz or
    .npy file."""
    size: int | None = None
    """Resize the images to size x size pixels, 28 or a multiple of 8 (default: the dataset's own
    choice; mnist and the sets like it stay at 28)."""
    grey: bool = False
    """image_folder, arrays, huggingface: read the images as grey values, and not as colours."""
    crop: float | None = None
    """celeba, image_folder, huggingface: side of the central square that is used, divided by the
    shorter side of the image; 1 is the largest square, as in Creswell et al. (default: 148/178 for
    celeba, 1 for the others)."""
    split_seed: int = 0
    """Seed of the random choice of the splits, if the dataset has no splits of its own."""
    classifier_epochs: int | None = None
    """Passes over the training images in the training of the FCD's classifier (default: the
    dataset's recipe)."""
    classifier_width: int | None = None
    """Features of the FCD's classifier, at most a quarter of the smaller half of the reference
    images (default: as many as suit the number of reference images)."""
    download: bool = False
    """Download missing official files into --data-root with torchvision."""
    smoke: bool = False
    """Run for a few minutes only, with fewer images, epochs and cells. This shows that the study
    runs; the results mean nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        locate_fields(self, "data_root")
        for name in ("classifier_epochs", "classifier_width"):
            value = getattr(self, name)
            require(
                self.classifier != "shipped" or value is None,
                f"--classifier shipped is not trained: leave out --{name.replace('_', '-')}",
                **{name: value},
            )


@dataclass(frozen=True, kw_only=True)
class StudyOptions(DataOptions, LaunchOptions):
    """The flags of every study."""

    epochs: int | None = None
    """Passes over the training images (default: the dataset's recipe)."""
    learning_rate: float | None = None
    """Adam's learning rate for the reconstruction or the ELBO (default: the dataset's recipe)."""
    net: Literal["mlp", "dcgan"] | None = None
    """Networks of the models (default: dcgan; mlp for grey images of 32 px or less, and for sizes
    that dcgan does not take)."""
    net_width: int | None = None
    """Channels of the DCGAN's first layer; each further layer has twice as many (default: 64)."""
    families: tuple[FamilyName, ...] = PAPER
    """Model families to compare."""
    noise: float | None = None
    """Standard deviation of the corruption in the denoising families (default: 0.5)."""
    settings: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.arg(name="set", metavar="NAME=VALUE [NAME=VALUE ...]"),
        tyro.conf.UseAppendAction,
    ] = ()
    """Values of the families' own settings, such as beta=2 or critic.dropout=0.1. Every chosen
    family that has the setting takes the value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need = families_that_need_noise()
        require(
            self.noise is None or not set(need).isdisjoint(self.families),
            f"--noise is only for {', '.join(need)}, and --families names none of them",
            noise=self.noise,
            families=self.families,
        )
        if self.assignments:  # checking them takes a second, because it imports PyTorch
            recipes.settings_by_family(self.assignments, self.families)

    def announcement(self) -> str | None:
        """What the sweep is about to do; nothing if it only prints its trials."""
        if self.print:
            return None
        verbs = {True: "resuming", False: "starting", "auto": "starting or resuming"}
        name = f" {self.name}" if self.name else ""
        folder = redact_uri(self.storage or str(home_path() / "sweeps"))
        store = redact_uri(self.tracking_uri or sqlite_uri(home_path() / "mlflow.db"))
        return (
            f"{verbs[self.resume]} the sweep{name} on {self.dataset}. Files: {folder}. "
            f"Runs: {store}. First, PyTorch and Ray are loaded ..."
        )

    @property
    def assignments(self) -> tuple[str, ...]:
        """The texts NAME=VALUE of all flags --set."""
        return tuple(text for group in self.settings for text in group)


@dataclass(frozen=True, kw_only=True)
class WrappedOptions:
    """The flags about models that are already trained."""

    wrapped: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.arg(metavar="LOADER CHECKPOINT [NAME]"),
        tyro.conf.UseAppendAction,
    ] = ()
    """A model of another package, which is sampled and not trained (repeatable): what loads it,
    the path of its checkpoint, and its name in tables. The loader is pythae, autoencoder_kl, or
    MODULE:FUNCTION of your own code, which --trust names."""

    def __post_init__(self) -> None:
        places = []
        for words in self.wrapped:
            require(
                len(words) in (2, 3),
                "--wrapped takes a loader, the path of a checkpoint, and perhaps a name",
                wrapped=words,
            )
            loader, checkpoint, *name = words
            places.append((loader, str(local_path(checkpoint, "--wrapped")), *name))
        object.__setattr__(self, "wrapped", tuple(places))
        super().__post_init__()  # type: ignore[misc]  # of the other options of a study


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The flags about the training of other packages' models."""

    epochs: int = 8
    """Passes over the training images."""
    images: int | None = None
    """Number of training images; the first ones are used (default: all)."""
    seed: int = 0
    """Seed of the weights and the training."""

    def __post_init__(self) -> None:
        require_positive_int(epochs=self.epochs)
        if self.images is not None:
            require_positive_int(images=self.images)
