"""What a card is about."""

from typing import Any, NamedTuple

from genae_core.config.redaction import hide_places
from genae_core.samplers.config import ChainConfig
from genae_core.tracking.mlflow_store import StoredRun

METRICS = ("fcd", "fcd_se")  # the chain metrics that a card shows


class ExportedModel(NamedTuple):
    """What a card is about.

    Attributes:
        run: The run.
        seeds: The runs that differ from it at most by their seed, and itself, with `METRICS`.
        chain: The config of its chain.
        model: The model's config as JSON values without places.
        experiment: The run's experiment as JSON values without places.
        own_code: Where the user's own classes were defined, without folders.
        shape: (C, H, W) of the images.
        weights: The number of values in its tensors, or of bytes in its files.
        files: The names of the files of another package that the model is made of; they are kept
            as they are, in the file of the weights. Empty for a model of genae.
        steps: The number of steps that the run recommends; None if it recommends none.
        picture: The name of the picture with samples; None if there is none.
    """

    run: StoredRun
    seeds: list[StoredRun]
    chain: ChainConfig
    model: dict[str, Any]
    experiment: dict[str, Any]
    own_code: dict[str, Any]
    shape: tuple[int, ...]
    weights: int
    files: list[str]
    steps: int | None
    picture: str | None

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags without places."""
        return dict(hide_places(self.run.tags)[0])

    @property
    def title(self) -> str:
        """The model in words."""
        tags = self.tags
        dims, data = tags.get("latent_dim", "?"), tags.get("dataset", "unknown images")
        verb = "trained" if self.is_trained_here else "measured"
        return f"{tags.get('family', 'Model')} with {dims} latent dimensions, {verb} on {data}"

    @property
    def is_trained_here(self) -> bool:
        """Whether genae has trained the model. Otherwise another package has done so."""
        return self.experiment.get("training") is not None
