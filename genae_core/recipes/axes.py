"""The axes of a grid over a base experiment, as text: which settings they vary, and their values.

An axis has the dotted name of a setting: "model.latent_dim", "training.epochs", or
"chain.sampler.decode", which every chain of the experiment takes. A family with two stages takes
"model.latent_dim" for its autoencoder.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from genae_core.config import require
from genae_core.experiment.experiment import Experiment
from genae_core.models.config import is_trained
from genae_core.recipes.settings import parse_setting, replace_settings, settings_of

Value = str | int | float | bool
LATENT_DIM = "model.latent_dim"
# The settings of an experiment that an axis can vary. All cells have the same images, the same
# classifier and the same seeds.
PARTS = ("model", "training", "chain")


class Axis(NamedTuple):
    """An axis of a grid.

    Attributes:
        name: The dotted name of the setting.
        coordinate: The name of the axis in the cells: the last part of its name, or all of it if
            another axis ends in the same word.
        values: The value of the setting for each coordinate.
    """

    name: str
    coordinate: str
    values: Mapping[Value, Any]


def check_axes(axes: Sequence[tuple[str, ...]]) -> None:
    """Check the form of axes, each a name and its values as text.

    Args:
        axes: The words of each flag --axis.

    Raises:
        ValueError: An axis has no name or no value, or is named twice.
    """
    names: set[str] = set()
    for words in axes:
        require(len(words) > 0, "--axis takes a name and its values", axis=())
        name, *values = words
        require(len(values) > 0, f"--axis {name} needs at least one value", values=())
        require(name not in names, f"--axis names {name} twice", axis=name)
        names.add(name)


def axes_of(
    axes: Sequence[tuple[str, ...]],
    bases: Mapping[str, Experiment],
    unused: Mapping[str, Collection[str]],
) -> list[Axis]:
    """Read the axes of a grid.

    Args:
        axes: The words of each flag --axis.
        bases: The base experiments, each with the name of its family for messages.
        unused: The fields of a base's model that have no effect.

    Returns:
        The axes, with values of the types that the configs ask for.

    Raises:
        ValueError: A base has no such setting, a value has another type, or a value is repeated.
    """
    check_axes(axes)
    kinds = {name: settings_to_vary(base, unused.get(name, ())) for name, base in bases.items()}
    ends = [words[0].rpartition(".")[2] for words in axes]
    read = []
    for name, *texts in axes:
        kind = _kind(name, kinds)
        end = name.rpartition(".")[2]
        values: dict[Value, Any] = {}
        for text in texts:
            value = parse_setting(name, text, kind)
            coordinate = value if isinstance(value, Value) else text
            require(coordinate not in values, f"--axis {name} names a value twice", value=text)
            values[coordinate] = value
        is_alone = ends.count(end) == 1 and end != "family"
        read.append(Axis(name, end if is_alone else name, values))
    return read


def settings_to_vary(experiment: Experiment, unused: Collection[str] = ()) -> dict[str, Any]:
    """The settings of an experiment that an axis can vary, each with its type, by dotted name.

    A model that is already trained has none itself, and neither has its training.

    Args:
        experiment: The experiment.
        unused: The fields of the model's config that are left out.
    """
    model = {}
    if not is_trained(experiment.model):
        model = settings_of(experiment.model, without=unused)
    if "latent_dim" not in model and "autoencoder.latent_dim" in model:
        model = {"latent_dim": model["autoencoder.latent_dim"], **model}
    training = {} if experiment.training is None else settings_of(experiment.training)
    parts = (model, training, settings_of(experiment.chains[0]))
    return {
        f"{part}.{name}": kind
        for part, settings in zip(PARTS, parts, strict=True)
        for name, kind in settings.items()
    }


def vary(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The experiment with these settings, by dotted name, changed together.

    Args:
        experiment: The base experiment.
        values: Values of settings that `settings_to_vary` lists.

    Raises:
        ValueError: A config refuses a value.
    """
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, value in values.items():
        part, _, setting = name.partition(".")
        if name == LATENT_DIM and not _has_field(experiment.model, "latent_dim"):
            setting = "autoencoder.latent_dim"
        parts[part][setting] = value
    return dataclasses.replace(
        experiment,
        model=replace_settings(experiment.model, parts["model"]),
        training=replace_settings(experiment.training, parts["training"]),
        chains=tuple(replace_settings(chain, parts["chain"]) for chain in experiment.chains),
    )


def grid_of(
    bases: Mapping[str, Experiment], axes: Sequence[Axis], by_family: bool
) -> tuple[dict[str, list[Value]], Callable[[Mapping[str, Any]], Experiment]]:
    """The axes of a launch, and the function that makes a cell's experiment.

    Args:
        bases: The base experiment of each family.
        axes: The axes.
        by_family: Whether the family is an axis too. Without it there is one base.
    """
    values: dict[str, list[Value]] = {"family": list(bases)} if by_family else {}
    values |= {axis.coordinate: list(axis.values) for axis in axes}

    def experiment(params: Mapping[str, Any]) -> Experiment:
        base = bases[params["family"]] if by_family else next(iter(bases.values()))
        return vary(base, {axis.name: axis.values[params[axis.coordinate]] for axis in axes})

    return values, experiment


def _kind(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> Any:
    """The type of a setting. Raises ValueError unless every base has it."""
    without = [base for base, settings in kinds.items() if name not in settings]
    if not without:
        return next(iter(kinds.values()))[name]
    every = list(dict.fromkeys(setting for settings in kinds.values() for setting in settings))
    if len(without) < len(kinds):
        owners = [base for base in kinds if base not in without]
        raise ValueError(
            f"--axis {name}: {', '.join(without)} has no such setting, and {', '.join(owners)} "
            "has it: leave out one of them, or sweep them one after the other"
        )
    nearest = _nearest(name, every)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    raise ValueError(
        f"--axis {name}: the experiment has no such setting{hint}\n"
        f"These settings can be varied: {', '.join(every)}"
    )


def _nearest(name: str, settings: Sequence[str]) -> list[str]:
    """The settings with a name, or with a last word, like that of an axis, the nearest first."""
    ends = {setting: setting.rpartition(".")[2] for setting in settings}
    close = difflib.get_close_matches(name.rpartition(".")[2], ends.values(), n=2)
    with_end = [setting for end in close for setting in settings if ends[setting] == end]
    return list(dict.fromkeys([*difflib.get_close_matches(name, settings, n=1), *with_end]))[:3]


def _has_field(config: Any, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(config)}
