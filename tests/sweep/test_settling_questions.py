"""The questions of a sweep: what each notes in its decision, and how often it is right."""

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genae_core.report.decision import Decision, describe_decision, describe_eliminations
from genae_core.sweep.settling import ROUNDS
from genae_core.sweep.settling_questions import BestCell, BestStep, FamilyOrder, Measured

JOBS = Path(__file__).resolve().parents[2] / "jobs"
STEPS = (0, 1, 5)


def noisy(means: list[float], seeds: int, sd: float = 0.1, key: int = 0) -> list[Measured]:
    """The curves of some seeds, which differ by a shift and by noise."""
    draw = np.random.default_rng(key)
    shifts = draw.normal(0, 5, (seeds, 1))
    curves = np.array(means) + shifts + draw.normal(0, sd, (seeds, len(means)))
    return [Measured(float(curve.min()), tuple(map(float, curve))) for curve in curves]


def cells_of(means: dict[str, float], seeds: int, sd: float = 0.1) -> dict[str, list[Measured]]:
    """The results of some cells over the same seeds, whose shift is common to all cells."""
    draw = np.random.default_rng(1)
    shifts = draw.normal(0, 5, seeds)
    return {
        cell: [Measured(float(mean + shift + draw.normal(0, sd))) for shift in shifts]
        for cell, mean in means.items()
    }


def test_the_best_step_is_decided_for_each_cell_by_itself() -> None:
    """The chain helps the first cell, hurts the second, and does about nothing to the third."""
    question = BestStep(Decision(0.95, 0.0), dict.fromkeys(("helps", "hurts", "flat"), STEPS))
    seeds = ROUNDS[3]
    results = {
        "helps": noisy([90, 60, 20], seeds),
        "hurts": noisy([20, 60, 90], seeds),
        "flat": noisy([20, 20.02, 90], seeds),
    }
    assert question.judge_round(results) == {"flat"}
    steps = question.decision.steps
    assert steps["helps"]["leader"] == 5 and steps["helps"]["helps"] == "yes"
    assert set(steps["helps"]["eliminated"]) == {"0", "1"}
    assert steps["helps"]["eliminated"]["0"]["seeds"] == seeds
    assert steps["helps"]["eliminated"]["0"]["difference"] == pytest.approx(70, abs=0.3)
    assert steps["hurts"]["leader"] == 0 and steps["hurts"]["helps"] == "no"
    assert set(steps["flat"]["eliminated"]) == {"5"} and steps["flat"]["helps"] == "open"
    assert not question.decision.settled
    question.decision.seeds = seeds
    words = describe_decision(question.decision, str).splitlines()
    assert words[0].startswith(
        "not settled with 95 % confidence: so far the step with the lowest mean FCD on validation"
    )
    assert words[0].endswith(
        "is decided in 2 of 3 cells (0 trials); does the chain help: yes in 1, no in 1, not known "
        "yet in 1"
    )
    assert words[1:3] == [
        f"helps: step 5, and the chain helps ({seeds} seeds)",
        f"hurts: step 0, and the chain does not help ({seeds} seeds)",
    ]


def test_a_step_that_is_eliminated_does_not_come_back() -> None:
    question = BestStep(Decision(0.95, 0.0), {"cell": STEPS})
    assert question.judge_round({"cell": noisy([20, 20.05, 90], 6)}) == {"cell"}
    later = noisy([20, 60, 0], 9, key=2)  # which the first round has ruled out
    assert question.judge_round({"cell": later}) == set()
    about = question.decision.steps["cell"]
    assert about["leader"] == 0 and about["eliminated"]["5"]["seeds"] == 6


def test_steps_that_differ_by_less_than_the_indifference_are_settled() -> None:
    question = BestStep(Decision(0.95, 2.0), dict.fromkeys(("before", "after"), STEPS))
    results = {"before": noisy([20, 20.1, 90], 9), "after": noisy([20.1, 20, 90], 9)}
    assert question.judge_round(results) == set()
    decision = question.decision
    assert decision.settled and [about["helps"] for about in decision.steps.values()] == ["no"] * 2
    words = describe_decision(decision, str)
    assert words.startswith("settled with 95 % confidence, within 2: ")
    assert words.splitlines()[1:] == [
        "before: step 0 (about as good: 1), and the chain does not help (9 seeds)",
        "after: step 1 (about as good: 0), and the chain helps by less than 2 (9 seeds)",
    ]


def test_families_are_ordered_by_their_best_cells_and_open_pairs_keep_their_cells() -> None:
    families = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "c2": "c"}
    question = FamilyOrder(Decision(0.95, 0.0), families)
    # The worst cell of a is worse than everything else, which does not matter.
    means = {"a1": 5.0, "a2": 90.0, "b1": 20.0, "b2": 50.0, "c1": 20.02, "c2": 21.0}
    undecided = question.judge_round(cells_of(means, 6))
    assert question.blocks[0] == ["a"] and set(question.blocks[1]) == {"b", "c"}
    assert undecided == {"b1", "c1"}
    decision = question.decision
    assert decision.order[0] == "a" and decision.leader == "a1"
    assert decision.leaders == {"a": "a1", "b": "b1", "c": "c1"}
    assert [set(pair) for pair in decision.undecided] == [{"b", "c"}]
    assert set(decision.eliminated) >= {"a2", "b2", "c2"} and not decision.settled
    # The next round decides it, over seeds that are harder for all cells.
    assert question.judge_round(cells_of({"b1": 90.0, "c1": 80.0}, 9)) == set()
    assert decision.order == ["a", "c", "b"] and decision.settled and not decision.undecided
    pairs = [(pair["better"], pair["worse"], pair["seeds"]) for pair in decision.apart]
    assert sorted(pairs) == [("a", "b", 6), ("a", "c", 6), ("c", "b", 9)]
    behind = decision.apart[-1]
    assert behind["difference"] == pytest.approx(10, abs=0.3) and behind["low"] > 0
    lines = describe_eliminations(decision, str)
    assert lines[0].startswith("certainly worse after 6 seeds: a2 (by 85.")
    assert lines[1].startswith("certainly worse after 9 seeds: b behind c (by ")


def test_families_that_differ_by_less_than_the_indifference_are_alike() -> None:
    question = FamilyOrder(Decision(0.95, 3.0), {"a": "a", "b": "b", "c": "c"})
    results = cells_of({"a": 20.0, "b": 20.01, "c": 60.0}, 6)
    assert question.judge_round(results) == set() and question.decision.settled
    assert [set(pair) for pair in question.decision.alike] == [{"a", "b"}]
    assert question.decision.order[2] == "c"
    question.decision.seeds = 6
    words = describe_decision(question.decision, str)
    assert words.startswith("settled with 95 % confidence, within 3: the order of the families")
    assert "; about as good: " in words


def test_a_family_between_two_open_ones_stays_with_them() -> None:
    """The first and the last of three are open, so that their block is not cut."""
    question = FamilyOrder(Decision(0.95, 0.0), {"a": "a", "b": "b", "c": "c"})
    draw = np.random.default_rng(3)
    results = {
        "a": [Measured(20 + value) for value in draw.normal(0, 0.01, 4)],
        "b": [Measured(21 + value) for value in draw.normal(0, 0.01, 4)],
        "c": [Measured(22 + value) for value in draw.normal(0, 20, 4)],
    }
    leads = min(results, key=lambda cell: float(np.mean([each.best for each in results[cell]])))
    assert question.judge_round(results) == {"a", "b", "c"} and question.blocks[0][0] == leads


def test_a_family_whose_cells_have_all_failed_is_left_out() -> None:
    question = FamilyOrder(Decision(0.95, 0.0), {"a": "a", "b": "b", "c": "c"})
    assert question.judge_round(cells_of({"a": 1.0, "c": 90.0}, 4)) == set()
    decision = question.decision
    assert decision.order == ["a", "c"]
    decision.eliminated["b"] = {"seeds": 4, "failed": "it diverged"}
    assert describe_eliminations(decision, str)[-1] == "left out, because a trial failed: b"


def test_the_families_that_are_ordered_stay_so_if_the_others_fail() -> None:
    question = FamilyOrder(Decision(0.95, 0.0), {"a": "a", "b": "b", "c": "c"})
    results = cells_of({"a": 1.0, "b": 90.0}, 4) | {"c": [Measured(v) for v in (88, 92, 89, 91)]}
    assert question.judge_round(results) == {"b", "c"}
    decision = question.decision
    assert decision.undecided and not decision.settled
    question.end_without_cells()
    assert decision.order == ["a"] and decision.leader == "a"
    assert decision.settled and not decision.undecided


def test_the_best_cell_notes_the_intervals_of_its_rivals() -> None:
    question = BestCell(Decision(0.95, 0.0))
    assert question.judge_round(cells_of({"a": 1.0, "b": 1.01, "c": 90.0}, 4)) == {"a", "b"}
    (rival,) = question.decision.rivals
    interval = question.decision.intervals[rival]
    assert interval["low"] < 0 < interval["high"]
    assert question.decision.eliminated["c"]["seeds"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("settle", ["_settle_cells", "_settle_steps", "_settle_families"])
def test_each_question_is_answered_rightly_as_often_as_asked(
    settle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 generated sweeps, at 80 % confidence, so that errors would show."""
    monkeypatch.syspath_prepend(str(JOBS))
    suite = importlib.import_module("benchmarks.settle")
    monkeypatch.setattr(suite, "CONFIDENCE", 0.8)
    monkeypatch.setattr(suite, "GRID", ROUNDS[-1])
    run: Callable[..., tuple[bool, int, object]] = getattr(suite, settle)
    kind = ("heavy",) if settle == "_settle_cells" else ()
    sweeps = [run(*kind, number) for number in range(100)]
    assert sum(wrong for wrong, _, _ in sweeps) <= 20
    cells = 4 if settle == "_settle_steps" else 16
    assert np.mean([trials for _, trials, _ in sweeps]) < 0.3 * cells * ROUNDS[-1]
