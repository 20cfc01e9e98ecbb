"""The decision of a settled sweep to which seeds were added by hand."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from genae_core.data import sealed
from genae_core.report.decision import SETTLED, Decision, QuestionName, decision_lines
from genae_core.sweep.cells import cell_key
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.settling_again import decide_again
from genae_core.tracking.mlflow_store import StoredRun, Tracker

SMALL, LARGE = (cell_key({"family": "vae", "latent_dim": dim}) for dim in (2, 8))
STEPS = (0, 1, 5)
Curve = Callable[[str, int], Sequence[float]]  # of a cell and a seed


def run(cell: str, seed: int, curve: Sequence[float], status: str = "FINISHED") -> StoredRun:
    tags = {"cell": cell, "seed": str(seed), "stage": "model"}
    values = dict(zip(STEPS, curve, strict=True))
    scalars = {"fcd_val_best": min(curve)}
    return StoredRun(f"{cell}{seed}", status, tags, {}, scalars, {"fcd_val": values})


class Runs:
    """A store with these runs."""

    def __init__(self, runs: list[StoredRun]) -> None:
        self.runs = runs

    def read_runs(self, *_: Any) -> list[StoredRun]:
        return self.runs


def place_of(
    folder: Path, runs: list[StoredRun], question: QuestionName = "best-cell"
) -> SweepPlace:
    """A sweep that was settled with three seeds of each cell: the small one is the best."""
    decision = Decision(0.95, 0.0, settled=True, over=True, seeds=3, trials=6)
    decision.question = question
    if question == "best-cell":
        decision.leader = SMALL
    else:
        decision.steps = {
            cell: {"leader": 5, "rivals": [], "seeds": 3, "settled": True, "helps": "yes"}
            | {"eliminated": {}, "intervals": {}}
            for cell in (SMALL, LARGE)
        }
    sealed.write(folder / SETTLED, asdict(decision))
    return SweepPlace("study", "s", folder, cast(Tracker, Runs(runs)))


def decision_in(folder: Path) -> Decision:
    return Decision(**sealed.read(folder / SETTLED))


def runs_of(seeds: int, curve: Curve) -> list[StoredRun]:
    return [run(cell, seed, curve(cell, seed)) for cell in (SMALL, LARGE) for seed in range(seeds)]


def turned(cell: str, seed: int) -> list[float]:
    """The small cell is better in three seeds; over twelve seeds the large one is, certainly."""
    best = 20 + seed if cell == SMALL else 21 + seed - (0 if seed < 3 else 30 + seed % 3)
    return [100.0 + seed, 50.0 + seed, best]


def test_the_decision_is_made_again_with_the_seeds_that_all_cells_have(tmp_path: Path) -> None:
    place = place_of(tmp_path, [*runs_of(12, turned), run(SMALL, 12, [3.0, 2.0, 1.0])])
    decide_again(place, complete=True)
    decision = decision_in(tmp_path)
    assert decision.leader == LARGE and decision.settled
    assert (decision.seeds, decision.trials) == (12, 25)
    # The differences are 1 in three seeds and -29, -30, -31 in turn in nine.
    behind = decision.eliminated[SMALL]
    assert behind["difference"] == pytest.approx((9 * 29 + 9 - 3) / 12 + 0.0, abs=0.01)
    assert decision.earlier["leader"] == SMALL and decision.earlier["trials"] == 6
    *_, last = decision_lines(decision, str)
    assert last.startswith("before seeds were added, it was settled with 95 % confidence: ")
    assert SMALL in last and "6 trials, 3 seeds" in last
    decide_again(place, complete=True)  # nothing has been added since
    assert decision_in(tmp_path) == decision


def test_a_decision_stays_if_nothing_was_added(tmp_path: Path) -> None:
    place = place_of(tmp_path, runs_of(3, turned))
    before = (tmp_path / SETTLED).read_bytes()
    decide_again(place, complete=True)
    assert (tmp_path / SETTLED).read_bytes() == before
    (tmp_path / SETTLED).unlink()
    decide_again(place, complete=True)  # a sweep without a question
    assert not (tmp_path / SETTLED).exists()


@pytest.mark.parametrize("complete", [False, True])
def test_a_decision_of_then_says_what_it_does_not_count(tmp_path: Path, complete: bool) -> None:
    """The sweep was interrupted, or one cell has two seeds only."""
    runs = runs_of(5, turned)
    if complete:
        runs = [one for one in runs if one.tags["cell"] == SMALL or int(one.tags["seed"]) < 2]
    decide_again(place_of(tmp_path, runs), complete)
    decision = decision_in(tmp_path)
    assert decision.leader == SMALL and decision.added == len(runs) - 6
    line, *_ = decision_lines(decision, str)
    assert line.endswith(
        f"; {decision.added} trainings that were added later are not counted, because not every "
        "cell has them"
    )


def test_a_cell_of_which_a_trial_fails_is_left_out(tmp_path: Path) -> None:
    runs = [*runs_of(4, turned), run(SMALL, 4, [1.0, 1.0, 1.0], "FAILED")]
    decide_again(place_of(tmp_path, runs), complete=True)
    decision = decision_in(tmp_path)
    assert decision.leader == LARGE and "failed" in decision.eliminated[SMALL]


def test_the_best_steps_are_judged_again(tmp_path: Path) -> None:
    def curve(cell: str, seed: int) -> list[float]:
        return [50.0 + seed, 20.0 + seed + seed % 2 / 9, 30.0 + seed]

    decide_again(place_of(tmp_path, runs_of(6, curve), "best-step"), complete=True)
    decision = decision_in(tmp_path)
    assert decision.settled and decision.trials == 12
    assert [about["leader"] for about in decision.steps.values()] == [1, 1]
    lines = decision_lines(decision, str)
    assert f"{SMALL}: step 1, and the chain helps (6 seeds)" in lines
    assert f"{SMALL}: step 5, and the chain helps (3 seeds)" in lines[lines.index(lines[0]) + 3 :]
