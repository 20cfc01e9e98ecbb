"""The questions that a sweep can settle: what each compares, and which cells get more seeds.

Each compares its own alternatives by `settling.judge`, and notes in the sweep's decision what a
round has shown.
"""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from genae_core.report.decision import Decision, QuestionName
from genae_core.sweep.cells import Params, cell_key
from genae_core.sweep.settling import Verdict, judge


class Measured(NamedTuple):
    """What one seed of a cell has given.

    Attributes:
        best: The lowest FCD on validation, over all steps and chains.
        curve: The FCD on validation at each recorded step of the first chain; empty if the
            question does not need it.
    """

    best: float
    curve: tuple[float, ...] = ()


Results = Mapping[str, Sequence[Measured]]  # by cell, in the order of the seeds


class Question(ABC):
    """A question with its decision, in which `judge_round` notes what is known.

    Attributes:
        name: Its name in --question.
        needs_curves: Whether a result must have its curve.
    """

    name: ClassVar[QuestionName]
    needs_curves: ClassVar[bool] = False

    def __init__(self, decision: Decision) -> None:
        decision.question = self.name
        self.decision = decision

    @abstractmethod
    def judge_round(self, results: Results) -> set[str]:
        """Note what a round has shown, and return the cells that get more seeds.

        results: The cells that got the seeds of this round and have not failed, at least one. All
            have the same seeds.
        """

    @abstractmethod
    def end_without_cells(self) -> None:
        """Note what is left of the answer after all cells that were still compared have failed."""

    def judge(self, scores: Mapping[str, Sequence[float]], **how: Any) -> Verdict:
        """Compare alternatives as sure as the decision must be; see `settling.judge`."""
        return judge(scores, self.decision.confidence, self.decision.indifference, **how)


class BestCell(Question):
    """Which cell has the lowest FCD at its best step."""

    name = "best-cell"

    def judge_round(self, results: Results) -> set[str]:
        decision, verdict = self.decision, self.judge(_best_scores(results))
        decision.leader, decision.rivals = verdict.leader, list(verdict.rivals)
        decision.settled = verdict.settled
        losers, decision.intervals = _split(verdict)
        decision.eliminated |= losers
        return set() if verdict.settled else {verdict.leader, *verdict.rivals}

    def end_without_cells(self) -> None:
        # The cells that are eliminated were compared with one that has failed since.
        self.decision.leader, self.decision.rivals, self.decision.intervals = None, [], {}


class BestStep(Question):
    """Which recorded step of the first chain has the lowest FCD, in each cell.

    The curves of a training rise and fall together, so that the differences of its steps say the
    same thing several times: their variances are not moderated.

    Args:
        decision: Where the answer is noted.
        steps: The recorded steps of each cell.
    """

    name = "best-step"
    needs_curves = True

    def __init__(self, decision: Decision, steps: Mapping[str, Sequence[int]]) -> None:
        super().__init__(decision)
        self.steps = steps

    def judge_round(self, results: Results) -> set[str]:
        decision = self.decision
        for cell, seeds in results.items():
            before = decision.steps.get(cell, {}).get("eliminated", {})
            columns = zip(*(measured.curve for measured in seeds), strict=True)
            curves = dict(zip(map(str, self.steps[cell]), columns, strict=True))
            scores = {step: values for step, values in curves.items() if step not in before}
            # In each cell, each step but the best one can be taken for better than it.
            ways = len(self.steps) * (len(scores) - 1)
            verdict = self.judge(scores, ways=ways, moderated=False)
            losers, intervals = _split(verdict)
            about = {
                "leader": int(verdict.leader),
                "rivals": [int(step) for step in verdict.rivals],
                "seeds": verdict.seeds,
                "settled": verdict.settled,
                "eliminated": before | losers,
                "intervals": intervals,
            }
            decision.steps[cell] = about | {"helps": _helps(about)}
        undecided = {cell for cell in results if not decision.steps[cell]["settled"]}
        decision.settled = not undecided
        return undecided

    def end_without_cells(self) -> None:
        # The others were decided in earlier rounds, each cell alone.
        self.decision.settled = bool(self.decision.steps)


def _helps(about: Mapping[str, Any]) -> str:
    """Whether the chain helps: yes if step 0 is certainly worse than the leading step."""
    if "0" in about["eliminated"]:
        return "yes"
    return "no" if about["settled"] else "open"


class FamilyOrder(Question):
    """The order of the families, each by its cell with the lowest FCD.

    A family is before another if one of its cells is certainly better than all cells of the other
    that are left. The families are kept in blocks: their order between blocks is decided, and
    all families of a block that has several get more seeds.

    Args:
        decision: Where the answer is noted.
        families: The family of each cell.
    """

    name = "family-order"

    def __init__(self, decision: Decision, families: Mapping[str, str]) -> None:
        super().__init__(decision)
        self.families = families
        self.blocks = [list(dict.fromkeys(families.values()))]

    def judge_round(self, results: Results) -> set[str]:
        decision, scores = self.decision, _best_scores(results)
        # The pairs in one block are judged again.
        decision.undecided = []
        decision.alike = [pair for pair in decision.alike if not self._in_one_block(*pair)]
        decision.apart = [
            pair
            for pair in decision.apart
            if not self._in_one_block(pair["better"], pair["worse"])
        ]
        # The best cell of each family can be taken for worse than any other cell.
        ways = len(set(self.families.values())) * (len(scores) - 1)
        blocks: list[list[str]] = []
        for block in self.blocks:
            if len(block) == 1 and block[0] in decision.leaders:
                blocks.append(block)
            else:
                blocks += self._judge_block(block, scores, ways)
        self.blocks = blocks
        decision.order = [family for block in blocks for family in block]
        decision.leader = decision.leaders[decision.order[0]]
        decision.settled = all(len(block) == 1 for block in blocks)
        several = {family for block in blocks if len(block) > 1 for family in block}
        return {
            cell
            for cell in scores
            if self.families[cell] in several and cell not in decision.eliminated
        }

    def end_without_cells(self) -> None:
        # The families of a block that was open have no cell left.
        decision = self.decision
        self.blocks = [block for block in self.blocks if len(block) == 1 and decision.leaders]
        decision.order = [family for block in self.blocks for family in block]
        decision.leader = decision.leaders[decision.order[0]] if decision.order else None
        decision.undecided = []
        decision.alike = [pair for pair in decision.alike if set(pair) <= set(decision.order)]
        decision.settled = bool(decision.order)

    def _in_one_block(self, family: str, other: str) -> bool:
        return any({family, other} <= set(block) for block in self.blocks)

    def _judge_block(
        self, block: Sequence[str], scores: Mapping[str, list[float]], ways: int
    ) -> list[list[str]]:
        """The block in the present order of its families, cut wherever that is decided."""
        cells = {cell: score for cell, score in scores.items() if self.families[cell] in block}
        lowest: dict[str, float] = {}
        for cell, score in cells.items():
            family, mean = self.families[cell], statistics.fmean(score)
            lowest[family] = min(mean, lowest.get(family, mean))
        order = sorted(lowest, key=lowest.__getitem__)  # without those whose cells have failed
        last_open = 0  # the last place that is not certainly behind an earlier one
        blocks: list[list[str]] = []
        for place, family in enumerate(order):
            if place > last_open or place == 0:
                blocks.append([])
            blocks[-1].append(family)
            rest = {c: score for c, score in cells.items() if self.families[c] in order[place:]}
            behind = self._judge_family(family, rest, ways)
            last_open = max([last_open, *(order.index(other) for other in behind)])
        return blocks

    def _judge_family(self, family: str, cells: Mapping[str, list[float]], ways: int) -> set[str]:
        """Judge a family beside those behind it. Returns those that may be better.

        cells: The cells of these families. The leader is one of this family.
        """
        decision, indifference = self.decision, self.decision.indifference
        verdict = self.judge(cells, ways=ways)
        decision.leaders[family] = verdict.leader
        losers, intervals = _split(verdict)
        undecided: set[str] = set()
        alike: set[str] = set()
        for cell, interval in intervals.items():
            (undecided if interval["low"] <= -indifference else alike).add(self.families[cell])
        undecided -= {family}
        alike -= {family, *undecided}
        decision.undecided += [[family, other] for other in sorted(undecided)]
        decision.alike += [[family, other] for other in sorted(alike)]
        closest: dict[str, dict[str, Any]] = {}  # of the cells of each family that is behind
        for cell, about in losers.items():
            other = self.families[cell]
            if other == family:
                decision.eliminated[cell] = about
            elif other not in undecided | alike:
                closest[other] = min(
                    closest.get(other, about), about, key=lambda each: each["low"]
                )
        decision.apart += [
            {"better": family, "worse": other, **about} for other, about in closest.items()
        ]
        return undecided


def ask(
    name: QuestionName,
    decision: Decision,
    grid: Sequence[Params],
    steps: Mapping[str, Sequence[int]],
) -> Question:
    """The question of this name.

    Args:
        name: The name.
        decision: Where the answer is noted.
        grid: The cells.
        steps: The recorded steps of the first chain of each cell, by cell_key.
    """
    if name == "best-step":
        return BestStep(decision, steps)
    if name == "family-order":
        return FamilyOrder(decision, {cell_key(cell): str(cell["family"]) for cell in grid})
    return BestCell(decision)


def _best_scores(results: Results) -> dict[str, list[float]]:
    return {cell: [measured.best for measured in seeds] for cell, seeds in results.items()}


def _split(verdict: Verdict) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, float]]]:
    """What `Decision` holds of the alternatives that are certainly worse, and of the rivals."""
    losers, rivals = {}, {}
    for name, comparison in verdict.comparisons.items():
        if name in verdict.rivals:
            rivals[name] = comparison._asdict()
        else:
            losers[name] = {"seeds": verdict.seeds, **comparison._asdict()}
    return losers, rivals
