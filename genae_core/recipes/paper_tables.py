"""The tables of paper_tables.py that a sweep measures, by name."""

from collections.abc import Callable, Sequence
from functools import partial

from genae_core.recipes.class_tables import class_table
from genae_core.recipes.comparison_tables import COMPARISONS, comparison_table
from genae_core.recipes.flowae_table import flowae_table
from genae_core.recipes.infogan_table import infogan_table
from genae_core.recipes.map_table import map_table
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.parzen_table import parzen_table
from genae_core.recipes.robustness_table import robustness_table
from genae_core.recipes.sampler_findings import sampler_table
from genae_core.recipes.swept_table import SweptTable

TABLES: dict[str, Callable[[StudyOptions], SweptTable]] = {
    "flowae": flowae_table,
    "infogan": infogan_table,
    "semi": partial(class_table, "semi"),
    "clusters": partial(class_table, "clusters"),
    **{name: partial(comparison_table, name) for name in COMPARISONS},
    "robustness": robustness_table,
    "map": map_table,
    "samplers": sampler_table,
}


def paper_table(
    name: str, study: StudyOptions, families: Sequence[str], samples: int
) -> SweptTable:
    """The table of this name: one of TABLES, or parzen.

    Args:
        name: The name.
        study: The study's flags.
        families: The models of parzen.
        samples: The samples of each model of parzen.
    """
    if name == "parzen":
        return parzen_table(study, families, samples)
    return TABLES[name](study)
