"""The trials of a sweep that runs until its question is settled (--until-settled).

Each trial trains one cell with one seed, so that rounds of few cells fill all slots too. After
each round the question says which cells it needs no more; the others get the seeds of the next
round. A resumed sweep proposes the same trials again: those that have finished end at once, with
the results that they had, so that the rounds are decided as before.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import optuna
from ray.tune.search import Searcher

from genae_core.config.console import say
from genae_core.data import sealed
from genae_core.report.decision import SETTLED, Decision, QuestionName
from genae_core.sweep.cells import ONE_SEED, Params, cell_key, cell_label, values_of
from genae_core.sweep.reports import CURVE, FAILED
from genae_core.sweep.settling import rounds_from
from genae_core.sweep.settling_questions import Measured, ask
from genae_core.sweep.study_copy import CopiedSearch, suggest_cell


class Settings(NamedTuple):
    """What must be decided.

    Attributes:
        confidence: The probability with which the decision must be right.
        indifference: A difference that does not matter.
        question: What is asked.
        seeds: The first seeds, which all cells get; the smallest others follow.
    """

    confidence: float
    indifference: float
    question: QuestionName = "best-cell"
    seeds: tuple[int, ...] = ()

    def order(self, number: int) -> list[int]:
        """The first seeds of a cell, in the order in which it gets them."""
        others = (seed for seed in itertools.count() if seed not in self.seeds)
        return [*self.seeds, *itertools.islice(others, number - len(self.seeds))]


class SettlingSearch(CopiedSearch):
    """Proposes the seeds of each round to Tune, and judges the cells after it."""

    def __init__(
        self,
        grid: list[Params],
        settings: Settings,
        steps: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.rounds = rounds_from(len(settings.seeds))
        self.order = settings.order(self.rounds[-1])
        super().__init__(
            partial(_suggest, values_of(grid), max(self.order)),
            metric="fcd_val",
            mode="min",
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        confidence, indifference, question, _ = settings
        self.decision = Decision(confidence, indifference)
        self.question = ask(question, self.decision, grid, steps or {})
        self.cells = {cell_key(params): params for params in grid}
        # The cells that get more seeds, with their results by seed.
        self.scores: dict[str, dict[int, Measured]] = {cell: {} for cell in self.cells}
        self.asked: dict[str, tuple[str, int]] = {}  # the cell and seed of each trial
        self.queue: list[tuple[str, int]] = []
        self._begin_round(self.rounds[0])

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
        result = result or {}
        value = result.get("fcd_val", math.nan)
        if math.isfinite(value) and FAILED not in result:
            curve = result.get(CURVE) or self.curves.get((cell, seed))
            if self.question.needs_curves and not curve:
                self._fail(cell, f"the store has no curve of seed {seed}")
            elif cell in self.scores:  # another seed of the cell may have failed
                self.scores[cell][seed] = Measured(value, tuple(curve or ()))
        else:
            self._fail(cell, str(result.get(FAILED, "its worker died")))
        while self.seeds is not None and self._round_is_over():
            self._end_round(self.seeds)

    def _begin_round(self, seeds: int) -> None:
        """Queue the seeds that the cells do not have yet, seed by seed."""
        self.seeds: int | None = seeds
        new = self.order[self.decision.seeds : seeds]
        self.queue = [(cell, seed) for seed in new for cell in self.scores]

    def _round_is_over(self) -> bool:
        return all(len(values) >= (self.seeds or 0) for values in self.scores.values())

    def _end_round(self, seeds: int) -> None:
        """Judge the cells, and begin the next round unless the question is settled."""
        decision = self.decision
        decision.seeds = seeds
        before = len(self.scores)
        if before:
            results = {
                cell: [values[seed] for seed in self.order[:seeds]]
                for cell, values in self.scores.items()
            }
            undecided = self.question.judge_round(results)
            self.scores = {c: values for c, values in self.scores.items() if c in undecided}
        else:
            self.question.end_without_cells()
        later = [each for each in self.rounds if each > seeds]
        if decision.settled or not before or not later:
            self.seeds, decision.over = None, True
        else:
            self._begin_round(later[0])
        if self.folder is not None:
            sealed.write(self.folder / SETTLED, asdict(decision))
        say(self._describe_round(before))

    def _fail(self, cell: str, reason: str) -> None:
        """Leave out a cell of which a trial has failed."""
        if self.scores.pop(cell, None) is not None:
            self.decision.eliminated[cell] = {"seeds": self.seeds, "failed": reason}
            self.decision.steps.pop(cell, None)
        self.queue = [each for each in self.queue if each[0] != cell]

    def _describe_round(self, before: int) -> str:
        decision = self.decision
        if not (decision.leader or decision.steps):
            return "settling: every cell that was left has failed"
        words = f"after {decision.seeds} seeds: {self._describe_state(before)}"
        if decision.settled:
            return f"{words}; settled"
        if self.seeds is None:
            return f"{words}; not settled, and more than {self.rounds[-1]} seeds are not tried"
        more = self.seeds - decision.seeds
        return f"{words}; {len(self.scores)} cells get {more} more seed{'s' if more > 1 else ''}"

    def _describe_state(self, before: int) -> str:
        """What the question has come to, in a few words."""
        decision = self.decision
        if decision.question == "best-step":
            decided = sum(about["settled"] for about in decision.steps.values())
            return f"the best step is decided for {decided} of {len(decision.steps)} cells"
        if decision.question == "family-order":
            pairs = [" and ".join(pair) for pair in decision.undecided]
            words = f"the order is {', '.join(decision.order)}"
            return f"{words}; open between {', '.join(pairs)}" if pairs else words
        assert decision.leader is not None
        leads = f"{cell_label(self.cells[decision.leader])} leads"
        worse = before - 1 - len(decision.rivals)
        return leads + (f", {worse} of {before} cells are certainly worse" if worse else "")


def _suggest(axes: dict[str, list[Any]], last: int, trial: optuna.Trial) -> None:
    suggest_cell(axes, trial)
    trial.suggest_int(ONE_SEED, 0, last)
