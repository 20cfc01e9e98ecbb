"""Which family, latent dimension, prior, noise and weights give the lowest FCD together?

TPE proposes cells, and learns from their validation FCD at the best step of the chain. At a ninth
and at a third of their steps, ASHA compares the trials: the best third continues, and the others
wait. A parameter is searched only for the families that have it, such as the noise of the
denoising families. A search finds one good cell. To compare cells, use the other studies.

  genae search --dataset mnist --data-root DIR --minutes 20
  genae search ... --against model_family-20260101-000000-abcd
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import genae_core as genae
from genae_core import config, recipes, report, sweep, tracking
from genae_core.data import durable
from genae_core.recipes.families import families_to_search
from genae_core.recipes.options import FamilyName, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this command."""

    families: tuple[FamilyName, ...] = families_to_search()
    """Model families to choose from."""
    asha: bool = True
    """Let trials wait that are worse than the others, and continue them once they are among the
    best third (ASHA)."""
    minutes: float = 20.0
    """Minutes after which no trial starts and the running trials end. They are counted from the
    start of the first trial."""
    trials: int | None = None
    """Largest number of trials (default: no limit)."""
    against: str | None = None
    """Name of a finished sweep of model_family.py in the same store (default: none). The search
    learns from its cells. At the end, the best cells of both sweeps, chosen on validation, are
    trained with fresh seeds and compared on test."""
    fresh_seeds: tuple[int, ...] = (100, 101, 102)
    """Seeds of the comparison with --against."""


def digest(cells: "dict[str, genae.Experiment]") -> str:
    """A short text that differs if the cells differ."""
    text = json.dumps({name: config.to_dict(cell) for name, cell in cells.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def main(options: Options) -> int:
    """Search, print the best cell, and compare it on test if --against is given."""
    best: dict[str, genae.Experiment] = {}

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        run = recipes.best_run(tracker.read_runs(name), name)
        if report.is_blind(run):
            print("\nbest:   n/a: the FCD's classifier measures nothing")
            return
        best["search"] = recipes.stored_experiment(tracker, run)
        durable.write(folder / "best.json", config.to_json(best["search"]) + "\n")
        fcd = run.scalars["fcd_val_best"]
        print(
            f"\nbest:   {recipes.describe_cell(run)}\n        FCD {fcd:.1f} on "
            f"validation at step {run.scalars['fcd_best_step']:g}; its config is "
            f"{folder / 'best.json'}"
        )
        if options.against is not None:
            study = recipes.study_store(tracker.uri)
            rival = recipes.best_run(study.read_runs(options.against), options.against)
            stored = recipes.stored_experiment(study, rival)
            # One classifier measures both.
            best["against"] = replace(stored, classifier=best["search"].classifier)
            fcd = rival.scalars["fcd_val_best"]
            print(f"against: {recipes.describe_cell(rival)}, FCD {fcd:.1f} on validation")

    recipes.check_space(options)
    recipes.print_settings(options)
    known: list[sweep.Measurement] = []
    against = options.against
    if against is not None and not options.print:
        kind = recipes.classifier_of(options, against)
        options = replace(options, classifier=kind)
        known = recipes.known_cells(options, against)
    space = sweep.SearchSpace(
        first=recipes.usual_cell(options, options.families[0], 10),
        suggest=partial(recipes.suggest_cell, options),
        experiment=partial(recipes.search_experiment, options),
        known=known,
    )
    code = sweep.search("search", space, options, options.minutes, options.trials, on_end)
    if code != 0 or "against" not in best:
        return code
    print("\nComparison on test: both cells with fresh seeds, at the step chosen on validation.")
    name = options.name and f"{options.name}-confirm-{digest(best)}"
    fresh = replace(
        options,
        seeds=options.fresh_seeds,
        asha=False,
        name=name,
        resume="auto" if name else False,  # a resumed search may have compared these cells before
    )
    return sweep.launch("confirm", {"cell": tuple(best)}, lambda cell: best[cell["cell"]], fresh)
