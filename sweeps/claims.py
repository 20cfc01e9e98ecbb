"""Decide the claims of a paper, each with an interval over seeds.

The ledger has a verdict for each claim: confirmed, refuted, bounded to the settings that it names,
or undecided, with the number of seeds that it would take. It is taken from finished sweeps, or
from a sweep of what the claims need, which this study runs.

  python sweeps/claims.py --from-sweep NAME
  python sweeps/claims.py --dataset mnist --data-root DIR
  python sweeps/claims.py --claims improves lasts --dataset mnist --data-root DIR
  python sweeps/claims.py --paper sridhar --dataset mnist --data-root DIR --seeds 0 1 2
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import genae_core as genae
from genae_core import recipes, sweep, tracking
from genae_core.config.cli import cli
from genae_core.config.home import default_store, home
from genae_core.config.places import locate_fields
from genae_core.recipes.families import FAMILIES
from genae_core.recipes.options import ClaimName, FamilyName, Paper, StudyOptions


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """The flags of this study."""

    paper: Paper = "creswell"
    """The paper: creswell is Creswell, Arulkumaran & Bharath 2017, makhzani is Makhzani et al.
    2016, sridhar is Sridhar & Srivastava, and slides are the slides "Understanding Deep Generative
    Models", most of whose claims are decided by tables of paper_tables.py."""
    claims: tuple[ClaimName, ...] = ()
    """The claims to decide (default: all of the paper)."""
    from_sweep: tuple[str, ...] = ()
    """Names of finished sweeps to take the runs from, such as those of latent_dim.py and
    mcmc_steps.py (default: run the sweep that the claims need)."""
    rows: tuple[Path, ...] = ()
    """Files that paper_tables.py has written with --json, for claims about tables that keep no
    runs."""
    out: Path | None = None
    """Folder of claims.txt, claims.json and claims.html (default: that of the first sweep; for
    --rows alone, that of the first file)."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the training; each cell is trained once with each of them."""
    latent_dims: tuple[int, ...] | None = None
    """Latent dimensions in which the claims are decided (default: all of the sweeps of
    --from-sweep; those of the paper in a sweep that is run)."""
    families: tuple[FamilyName, ...] = tuple(FAMILIES)
    """Families to train, of those that the claims are about (default: all)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        locate_fields(self, "rows", "out")

    def announcement(self) -> str | None:
        """What the study is about to do; nothing if it trains nothing."""
        return None if self.from_sweep or self.rows else super().announcement()


def main(options: Options) -> int:
    """Decide the claims, from finished sweeps or from one that is run now."""
    paper, dims, shards = options.paper, options.latent_dims, options.shards
    claims = recipes.claims_of(paper, options.claims)
    if options.from_sweep or options.rows:
        uri = tracking.resolve_uri(options.tracking_uri or default_store())
        pages = home() / "sweeps"
        sweeps, rows = options.from_sweep, options.rows
        source = recipes.LedgerSource(paper, uri, sweeps, pages, dims, shards, rows)
        beside = pages / sweeps[0] if sweeps else rows[0].parent
        recipes.write_ledger(claims, source, options.out or beside)
        return 0

    axes = recipes.claim_axes(paper, claims, options, dims)
    models = next(iter(axes.values()))
    study = replace(options, families=recipes.families_of(paper, models))

    def experiment(params: dict[str, Any]) -> genae.Experiment:
        return recipes.paper_experiment(paper, params, study)

    def on_end(tracker: tracking.Tracker, name: str, folder: Path) -> None:
        source = recipes.LedgerSource(paper, tracker.uri, (name,), folder.parent, dims, shards)
        recipes.write_ledger(claims, source, options.out or folder)

    recipes.print_settings(study)
    return sweep.launch("claims", axes, experiment, study, on_end)


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
