"""Which family, latent dimension, prior, noise and weights give the lowest FCD together?

TPE proposes cells and learns from their validation FCD at the best step of the chain; ASHA stops
the trials that are behind at a ninth and a third of their steps. A parameter is searched only for
the families that have it: a prior, the noise of denoising families. A search looks for one good
cell and compares nothing: for comparisons see the studies.

  python sweeps/search.py --dataset mnist --data-root DIR --minutes 20
  python sweeps/search.py ... --against model_family-20260101-000000-abcd   # start from its cells
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genae_core import config
from genae_core.config.cli import cli
from genae_core.experiment.experiment import Experiment
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import FamilyName, StudyOptions
from genae_core.recipes.search_results import (
    best_run,
    describe_cell,
    known_cells,
    stored_experiment,
    study_store,
)
from genae_core.recipes.search_space import (
    check_space,
    search_experiment,
    suggest_cell,
    usual_cell,
)
from genae_core.recipes.study import print_settings
from genae_core.sweep.launcher import launch
from genae_core.sweep.optuna_search import Measurement, SearchSpace, search
from genae_core.tracking.mlflow_store import Tracker


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this search."""

    families: tuple[FamilyName, ...] = tuple(FAMILIES)
    """Model families to choose from."""
    asha: bool = True
    """Let trials that are behind the others wait, and continue them once they are among the best
    third (ASHA)."""
    minutes: float = 20.0
    """Minutes of trials, counted once the data and the classifier are ready; then running trials
    end."""
    trials: int | None = None
    """The largest number of trials (default: no limit)."""
    against: str | None = None
    """A finished sweep of model_family.py in the same store. The search learns from its cells.
    Then the best cell of each on validation is trained with fresh seeds, and the two are compared
    on test."""
    fresh_seeds: tuple[int, ...] = (100, 101, 102)
    """Seeds of that comparison."""


def main(options: Options) -> int:
    """Search, print the best cell, and compare it on test if --against is given."""
    best: dict[str, Experiment] = {}

    def on_end(tracker: Tracker, sweep: str, folder: Path) -> None:
        run = best_run(tracker.read_runs(sweep), sweep)
        best["search"] = stored_experiment(tracker, run)
        (folder / "best.json").write_text(config.to_json(best["search"]) + "\n")
        print(
            f"\nbest:   {describe_cell(run)}\n        FCD {run.scalars['fcd_val_best']:.1f} on "
            f"validation at step {run.scalars['fcd_best_step']:g}; its config is "
            f"{folder / 'best.json'}"
        )
        if options.against is not None:
            study = study_store(tracker.uri)
            rival = best_run(study.read_runs(options.against), options.against)
            best["against"] = stored_experiment(study, rival)
            fcd = rival.scalars["fcd_val_best"]
            print(f"against: {describe_cell(rival)}, FCD {fcd:.1f} on validation")

    check_space(options)
    print_settings(options)
    known: list[Measurement] = []
    if options.against is not None and not options.print:
        known = known_cells(options, options.against)
    space = SearchSpace(
        first=usual_cell(options, options.families[0], 10),
        suggest=partial(suggest_cell, options),
        experiment=partial(search_experiment, options),
        known=known,
    )
    code = search("search", space, options, options.minutes, options.trials, on_end)
    if code != 0 or "against" not in best:
        return code
    print("\nBoth with fresh seeds, each at the step chosen on validation, compared on test:")
    fresh = replace(options, seeds=options.fresh_seeds, name=None, asha=False)
    return launch("confirm", {"cell": tuple(best)}, lambda cell: best[cell["cell"]], fresh)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
