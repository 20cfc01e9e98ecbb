"""The settings of each family, and the values that the flag --set gives to them."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from genae_core.config import require
from genae_core.config.places import locate
from genae_core.models.optimizers import AdamConfig
from genae_core.nets.mlp import CriticConfig, MLPConfig
from genae_core.recipes.families import FAMILIES, Parts, family_config, shared_fields
from genae_core.recipes.settings import parse_setting, settings_of

CHECKPOINT = "finished"  # the setting of two-stage families that names a folder
EXAMPLE_DIM = 1024  # every family takes it, also with more codes than usual
EXAMPLE = Parts(net=MLPConfig(), critic=CriticConfig(), optimizer=AdamConfig(), noise=0.5)


def family_settings(name: str) -> dict[str, Any]:
    """The settings of a family, each with its type, by dotted name.

    They are the fields of the family's config, without the fields that other flags or a study's
    axes set, and without those that have no effect.
    """
    family = FAMILIES[name]
    config = family_config(name, EXAMPLE_DIM, EXAMPLE)
    shared = shared_fields(family, EXAMPLE_DIM, EXAMPLE)
    return settings_of(config, without={*shared, *family.unused})


def settings_by_family(
    assignments: Sequence[str], families: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The values of --set that each family takes, by dotted name.

    Args:
        assignments: Texts of the form NAME=VALUE.
        families: The names of the chosen families.

    Raises:
        ValueError: A text has another form, a setting is named twice, no chosen family has it, or
            the value has the wrong type or is out of range.
    """
    values: dict[str, dict[str, Any]] = {family: {} for family in families}
    names: set[str] = set()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        require(bool(name and equals), "--set takes NAME=VALUE", set=assignment)
        require(name not in names, f"--set names {name} twice", set=assignment)
        names.add(name)
        kinds = {family: family_settings(family).get(name) for family in families}
        if not any(kinds.values()):
            raise ValueError(_unknown(name, families))
        for family, kind in kinds.items():
            if kind is not None:
                value = parse_setting(name, text, kind)
                is_place = name == CHECKPOINT and value is not None
                values[family][name] = locate(value, f"--set {name}") if is_place else value
    for family, settings in values.items():
        if settings:  # the config refuses a value that is out of range
            noise = EXAMPLE.noise if FAMILIES[family].noise == "needed" else 0.0
            parts = replace(EXAMPLE, noise=noise, settings=settings)
            family_config(family, EXAMPLE_DIM, parts)
    return values


def describe_settings(assignments: Sequence[str], families: Sequence[str]) -> list[str]:
    """A line for each assignment that says which of the chosen families take it."""
    values = settings_by_family(assignments, families)
    lines = []
    for assignment in assignments:
        name = assignment.partition("=")[0]
        takers = [family for family in families if name in values[family]]
        others = [family for family in families if name not in values[family]]
        rest = f" (not a setting of {', '.join(others)})" if others else ""
        lines.append(f"set:    {assignment} for {', '.join(takers)}{rest}")
    return lines


def _unknown(name: str, families: Sequence[str]) -> str:
    """The message for a setting that no chosen family has."""
    available = {family: list(family_settings(family)) for family in families}
    every = dict.fromkeys(setting for names in available.values() for setting in names)
    nearest = difflib.get_close_matches(name, every, n=3)
    elsewhere = [family for family in FAMILIES if name in family_settings(family)]
    message = f"--set: no chosen family has the setting {name}"
    if elsewhere:
        message += f"; families that have it: {', '.join(elsewhere)}"
    if nearest:
        message += f"; did you mean {' or '.join(nearest)}?"
    lines = [f"  {family}: {', '.join(names)}" for family, names in available.items()]
    return "\n".join([message, "The chosen families have these settings:", *lines])
