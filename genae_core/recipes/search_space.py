"""The space that search.py searches: the coordinates of a trial, and the experiment of each."""

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Protocol

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.families import (
    FAMILIES,
    KL_PRIORS,
    LATENT_DIMS,
    SAMPLE_PRIORS,
    PriorName,
    Range,
    families_to_search,
    family_config,
    optimizer_of,
)
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.study import study_experiment, study_parts

NOISES = (0.1, 1.0)
# A search records fewer steps than the studies: the evaluation takes half of a cell's time.
RECORD = (0, 1, 2, 5, 10)
# A prior that exists only in two dimensions cannot be compared at another latent dimension.
PLANAR: tuple[PriorName, ...] = ("swiss_roll",)
PRIOR = "prior of "  # the name of each coordinate that is a prior begins with these words


class SuggestingTrial(Protocol):
    """The methods of an Optuna trial that a search space uses."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


def suggest_cell(options: StudyOptions, trial: SuggestingTrial) -> None:
    """Suggest the coordinates of one trial, each only if the family has it.

    Args:
        options: The search's flags.
        trial: The trial that chooses the values.
    """
    family = trial.suggest_categorical("family", list(options.families))
    trial.suggest_int("latent_dim", *LATENT_DIMS, log=True)
    rates = FAMILIES[family].learning_rates
    trial.suggest_float(_rate_coordinate(family), rates.low, rates.high, log=True)
    priors = _priors(family)
    if priors:
        trial.suggest_categorical(_prior_coordinate(family), priors)
    if FAMILIES[family].noise == "needed":
        trial.suggest_float("noise", *NOISES)
    for setting, values in searched_settings(options, family).items():
        trial.suggest_float(values.name or setting, values.low, values.high, log=True)


def usual_cell(options: StudyOptions, family: str, latent_dim: int) -> dict[str, Any]:
    """The coordinates of a family's cell with the default values, as the other studies train it.

    Args:
        options: The search's flags.
        family: The family's name in FAMILIES.
        latent_dim: The dimension of the latent codes.
    """
    parts = study_parts(options, family)
    cell: dict[str, Any] = {
        "family": family,
        "latent_dim": latent_dim,
        _rate_coordinate(family): optimizer_of(FAMILIES[family], parts).learning_rate,
    }
    priors = _priors(family)
    if priors:
        cell[_prior_coordinate(family)] = priors[0]
    if FAMILIES[family].noise == "needed":
        cell["noise"] = parts.noise
    config = family_config(family, latent_dim, parts)
    for setting, values in searched_settings(options, family).items():
        cell[values.name or setting] = attrgetter(setting)(config)
    return cell


def search_experiment(options: StudyOptions, cell: dict[str, Any]) -> Experiment:
    """The experiment of a trial with these coordinates.

    Args:
        options: The search's flags.
        cell: The coordinates by name.

    Raises:
        ValueError: A config refuses a value.
    """
    family = cell["family"]
    parts = study_parts(options, family)
    searched = {
        setting: cell[values.name or setting]
        for setting, values in searched_settings(options, family).items()
    }
    parts = replace(
        parts,
        learning_rate=cell[_rate_coordinate(family)],
        noise=cell.get("noise", parts.noise),
        prior=next((value for name, value in cell.items() if name.startswith(PRIOR)), None),
        settings={**parts.settings, **searched},
    )
    chain = dataset_recipe(options).chain(record=RECORD)
    return study_experiment(options, family, cell["latent_dim"], (chain,), parts)


def searched_settings(options: StudyOptions, family: str) -> dict[str, Range]:
    """The family's own settings that the search varies, without those that --set fixes."""
    fixed = study_parts(options, family).settings
    searched = FAMILIES[family].searched
    return {setting: values for setting, values in searched.items() if setting not in fixed}


def check_space(options: StudyOptions) -> None:
    """Check that there are families, and that --set fits the ends of the ranges of the search.

    Args:
        options: The search's flags.

    Raises:
        ValueError: There is no family, or a config refuses these values together.
    """
    require(len(options.families) > 0, "--families must name at least one", families=())
    large = [name for name in options.families if name not in families_to_search()]
    require(
        not large,
        f"a search proposes latent dimensions from {LATENT_DIMS[0]} on, and these families need "
        "more: leave them out",
        families=large,
    )
    for family in options.families if options.settings else ():
        ranges = searched_settings(options, family)
        low = {values.name or setting: values.low for setting, values in ranges.items()}
        high = {values.name or setting: values.high for setting, values in ranges.items()}
        usual = usual_cell(options, family, LATENT_DIMS[0])
        for ends in (low, high):
            search_experiment(options, {**usual, **ends})


def _rate_coordinate(family: str) -> str:
    """The name of the learning rate's coordinate."""
    return FAMILIES[family].learning_rates.name or "learning_rate"


def _priors(family: str) -> tuple[PriorName, ...]:
    return tuple(prior for prior in FAMILIES[family].priors if prior not in PLANAR)


def _prior_coordinate(family: str) -> str:
    """The name of the prior's coordinate. Each set of priors has its own, as Optuna requires."""
    names = {KL_PRIORS: "a KL", SAMPLE_PRIORS: "samples"}
    priors = FAMILIES[family].priors
    return PRIOR + names.get(priors, " or ".join(priors))
