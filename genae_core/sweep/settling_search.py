"""The trials of a sweep that runs until its question is settled (--until-settled).

Each trial trains one cell with one seed, so that rounds of few cells fill all slots too. After
each round `settling.judge` says which cells are certainly worse; the others get the seeds of the
next round. A resumed sweep proposes the same trials again: those that have finished end at once,
with the results that they had, so that the rounds are decided as before.
"""

import math
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import optuna
from ray.tune.search import Searcher

from genae_core.config.console import say
from genae_core.data import sealed
from genae_core.sweep.cells import ONE_SEED, Params, cell_key, cell_label, values_of
from genae_core.sweep.decision import SETTLED, Decision
from genae_core.sweep.reports import FAILED
from genae_core.sweep.settling import ROUNDS, Verdict, judge
from genae_core.sweep.study_copy import CopiedSearch, suggest_cell


class Settings(NamedTuple):
    """How sure the decision must be; see `settling.judge`."""

    confidence: float
    indifference: float


class SettlingSearch(CopiedSearch):
    """Proposes the seeds of each round to Tune, and judges the cells after it."""

    def __init__(self, grid: list[Params], settings: Settings) -> None:
        super().__init__(
            partial(_suggest, values_of(grid)),
            metric="fcd_val",
            mode="min",
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        self.decision = Decision(*settings)
        self.cells = {cell_key(params): params for params in grid}
        self.scores: dict[str, dict[int, float]] = {cell: {} for cell in self.cells}  # by seed
        self.asked: dict[str, tuple[str, int]] = {}  # the cell and seed of each trial
        self.queue: list[tuple[str, int]] = []
        self._begin_round(ROUNDS[0])

    def suggest(self, trial_id: str) -> Any:
        if trial_id not in self.asked:
            if not self.queue:
                return Searcher.FINISHED if self.seeds is None else None
            cell, seed = self.asked[trial_id] = self.queue.pop(0)
            study: Any = self._ot_study
            study.enqueue_trial({**self.cells[cell], ONE_SEED: seed})
        return super().suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        super().on_trial_complete(trial_id, result, error)
        cell, seed = self.asked[trial_id]
        self.decision.trials += 1
        value = (result or {}).get("fcd_val", math.nan)
        if math.isfinite(value) and FAILED not in (result or {}):
            if cell in self.scores:  # another seed of the cell may have failed
                self.scores[cell][seed] = value
        else:
            reason = str((result or {}).get(FAILED, "its worker died"))
            self._eliminate(cell, {"failed": reason})
            self.queue = [each for each in self.queue if each[0] != cell]
        while self.seeds is not None and self._round_is_over():
            self._end_round(self.seeds)

    def _begin_round(self, seeds: int) -> None:
        """Queue the seeds that the cells do not have yet, seed by seed."""
        self.seeds: int | None = seeds
        begun = self.decision.seeds
        self.queue = [(cell, seed) for seed in range(begun, seeds) for cell in self.scores]

    def _round_is_over(self) -> bool:
        return all(len(values) >= (self.seeds or 0) for values in self.scores.values())

    def _end_round(self, seeds: int) -> None:
        """Judge the cells, and begin the next round unless the question is settled."""
        decision = self.decision
        decision.seeds = seeds
        before = len(self.scores)
        if before:
            scores = {c: [values[n] for n in range(seeds)] for c, values in self.scores.items()}
            self._apply(judge(scores, decision.confidence, decision.indifference))
        later = [each for each in ROUNDS if each > seeds]
        if decision.settled or not before or not later:
            self.seeds, decision.over = None, True
        else:
            self._begin_round(later[0])
        if self.folder is not None:
            sealed.write(self.folder / SETTLED, asdict(decision))
        say(self._describe_round(before))

    def _apply(self, verdict: Verdict) -> None:
        decision = self.decision
        decision.leader, decision.rivals = verdict.leader, list(verdict.rivals)
        decision.settled = verdict.settled
        for cell, comparison in verdict.comparisons.items():
            if cell not in verdict.rivals:
                self._eliminate(cell, comparison._asdict())

    def _eliminate(self, cell: str, about: dict[str, Any]) -> None:
        if self.scores.pop(cell, None) is not None:
            self.decision.eliminated[cell] = {"seeds": self.seeds, **about}

    def _describe_round(self, before: int) -> str:
        decision = self.decision
        if decision.leader is None:
            return "settling: every cell has failed"
        gone = before - len(self.scores)
        words = f"after {decision.seeds} seeds: {self._label(decision.leader)} leads"
        words += f", {gone} of {before} cells are certainly worse" if gone else ""
        if decision.settled:
            return f"{words}; settled"
        if self.seeds is None:
            return f"{words}; not settled, and more than {ROUNDS[-1]} seeds are not tried"
        more = self.seeds - decision.seeds
        return f"{words}; {len(self.scores)} cells get {more} more seed{'s' if more > 1 else ''}"

    def _label(self, cell: str) -> str:
        return cell_label(self.cells[cell])


def _suggest(axes: dict[str, list[Any]], trial: optuna.Trial) -> None:
    suggest_cell(axes, trial)
    trial.suggest_int(ONE_SEED, 0, ROUNDS[-1] - 1)
