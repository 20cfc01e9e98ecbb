"""The trials of a sweep that runs until it is settled: its rounds, and what they decide."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from genae_core.data import sealed
from genae_core.report.decision import (
    SETTLED,
    QuestionName,
    describe_decision,
    describe_eliminations,
    read_decision,
)
from genae_core.sweep.cells import ONE_SEED, Params, cell_key, cell_label, coordinates
from genae_core.sweep.launcher import _settling_plan
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.reports import CURVE, FAILED
from genae_core.sweep.settling import ROUNDS
from genae_core.sweep.settling_search import Settings, SettlingSearch
from genae_core.testing import tiny

Score = Callable[[int, int], float]  # of a dimension and a seed
GRID = [{"family": "vae", "latent_dim": dim} for dim in (2, 4, 8)]
SURE = Settings(0.95, 0.0)


def clear(dim: int, seed: int) -> float:
    """A dimension of 8 is best by far; seeds differ, and hardly change the differences."""
    return {2: 90.0, 4: 60.0, 8: 20.0}[dim] + 7 * seed + 0.1 * ((dim * seed) % 3)


def close(dim: int, seed: int) -> float:
    """Dimensions 4 and 8 differ by 1 and by noise; 2 is far worse."""
    return {2: 90.0, 4: 21.0, 8: 20.0}[dim] + ((dim * 31 + seed * 17) % 7) / 7


def trials_of(search: SettlingSearch, score: Score, at_a_time: int = 2) -> list[tuple[int, int]]:
    """Run all trials as Tune does, the last one that has started ends first."""
    running: list[tuple[str, dict[str, Any]]] = []
    trials: list[tuple[int, int]] = []
    while True:
        while len(running) < at_a_time:
            params = search.suggest(f"trial{len(trials)}")
            if params in (None, Searcher.FINISHED):
                break
            running.append((f"trial{len(trials)}", params))
            trials.append((params["latent_dim"], params[ONE_SEED]))
        if not running:
            assert params == Searcher.FINISHED
            return trials
        trial, params = running.pop()
        value = score(params["latent_dim"], params[ONE_SEED])
        report = {"fcd_val": value, "finished": True, "training_iteration": 1}
        search.on_trial_result(trial, report)
        search.on_trial_complete(trial, report)


def test_a_clear_winner_takes_one_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = SettlingSearch(GRID, SURE)
    search.folder = tmp_path
    trials = trials_of(search, clear)
    assert sorted(trials) == [(dim, seed) for dim in (2, 4, 8) for seed in range(3)]
    decision = read_decision(tmp_path)
    assert decision == search.decision
    assert decision.settled and decision.over and decision.trials == 9 and decision.seeds == 3
    assert decision.leader == cell_key(GRID[2]) and decision.rivals == []
    worse = decision.eliminated[cell_key(GRID[1])]
    assert worse["seeds"] == 3 and worse["difference"] == pytest.approx(40, abs=0.3)
    assert 0 < worse["low"] < worse["difference"] < worse["high"]
    assert capsys.readouterr().out == (
        "after 3 seeds: vae latent_dim=8 leads, 2 of 3 cells are certainly worse; settled\n"
    )


def test_two_seeds_are_enough_to_begin_with() -> None:
    """If the sweep names them; the cells that are close get more."""
    search = SettlingSearch(GRID, Settings(0.95, 0.0, seeds=(0, 1)))
    assert sorted(trials_of(search, clear)) == [
        (dim, seed) for dim in (2, 4, 8) for seed in (0, 1)
    ]
    assert search.decision.settled and search.decision.leader == cell_key(GRID[2])
    search = SettlingSearch(GRID, Settings(0.95, 0.0, seeds=(0, 1)))
    trials = trials_of(search, close)
    assert [seed for dim, seed in trials if dim == 2] == [0, 1] and search.decision.seeds > 2


def test_only_rivals_get_more_seeds_and_the_next_round_waits_for_the_last_trial() -> None:
    search = SettlingSearch(GRID, SURE)
    trials = trials_of(search, close, at_a_time=4)
    assert [seed for dim, seed in trials if dim == 2] == [0, 1, 2]
    seeds = search.decision.seeds
    assert seeds in ROUNDS and seeds > 3
    for dim in (4, 8):
        assert sorted(seed for other, seed in trials if other == dim) == list(range(seeds))
    assert search.decision.settled and search.decision.leader == cell_key(GRID[2])


def test_a_difference_that_does_not_matter_is_settled_sooner() -> None:
    exact, loose = SettlingSearch(GRID, SURE), SettlingSearch(GRID, Settings(0.95, 5.0))
    trials_of(exact, close)
    trials_of(loose, close)
    assert loose.decision.settled and loose.decision.trials < exact.decision.trials
    assert loose.decision.rivals == [cell_key(GRID[1])]
    words = describe_decision(loose.decision, str)
    assert words.startswith("settled with 95 % confidence, within 5: ")
    assert words.endswith(f"about as good: {cell_key(GRID[1])}")


def test_equal_cells_end_with_the_last_round_undecided() -> None:
    search = SettlingSearch(GRID[:2], SURE)
    trials = trials_of(search, lambda dim, seed: float(seed))
    assert len(trials) == 2 * ROUNDS[-1]
    assert search.decision.over and not search.decision.settled
    assert describe_decision(search.decision, str).startswith("not settled with 95 % confidence")


def test_a_resumed_sweep_decides_the_same_in_any_order_of_ends() -> None:
    first, again = SettlingSearch(GRID, SURE), SettlingSearch(GRID, SURE)
    trials = trials_of(first, close, at_a_time=1)
    assert sorted(trials_of(again, close, at_a_time=5)) == sorted(trials)
    assert asdict(again.decision) == asdict(first.decision)


def test_a_cell_that_fails_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    search = SettlingSearch(GRID, SURE)
    search.folder = tmp_path
    trials = 0
    while (params := search.suggest(f"trial{trials}")) != Searcher.FINISHED:
        value = clear(params["latent_dim"], params[ONE_SEED])
        failed = {FAILED: "it diverged"} if params["latent_dim"] == 8 else {}
        report = {"fcd_val": value, "training_iteration": 1, **failed}
        search.on_trial_complete(f"trial{trials}", report)
        trials += 1
    assert trials == 7  # one of the failed cell
    decision = search.decision
    assert decision.leader == cell_key(GRID[1]) and decision.settled
    assert decision.eliminated[cell_key(GRID[2])] == {"seeds": 3, "failed": "it diverged"}


def test_a_seed_that_ends_after_another_seed_of_its_cell_has_failed_changes_nothing() -> None:
    search = SettlingSearch(GRID[:2], SURE)
    running = [(str(number), search.suggest(str(number))) for number in range(4)]
    cells = [(params["latent_dim"], params[ONE_SEED]) for _, params in running]
    assert cells == [(2, 0), (4, 0), (2, 1), (4, 1)]
    search.on_trial_complete("0", {"fcd_val": 1.0, "training_iteration": 1, FAILED: "it diverged"})
    for number in ("2", "1", "3"):
        search.on_trial_complete(number, {"fcd_val": 5.0, "training_iteration": 1})
    assert search.suggest("4")["latent_dim"] == 4 and search.decision.trials == 4
    search.on_trial_complete("4", {"fcd_val": 5.0, "training_iteration": 1})
    assert search.decision.leader == cell_key(GRID[1]) and search.decision.settled


def test_all_cells_may_fail() -> None:
    search = SettlingSearch(GRID[:2], SURE)
    for number in range(2):
        assert search.suggest(str(number)) is not None
        search.on_trial_complete(str(number), None, error=True)
    assert search.suggest("2") == Searcher.FINISHED
    assert describe_decision(search.decision, str).startswith("not settled: the cells that were")


CURVES = {2: [90.0, 40.0, 60.0], 4: [50.0, 50.01, 80.0], 8: [20.0, 60.0, 70.0]}
STEPS = {cell_key(params): (0, 2, 5) for params in GRID}
ASK_STEPS = Settings(0.95, 0.0, "best-step")


def curve_of(dim: int, seed: int) -> list[float]:
    noise = [((seed * 31 + k * 17) % 7) / 9 for k in range(3)]
    return [value + 7 * seed + each for value, each in zip(CURVES[dim], noise, strict=True)]


def end_trial(search: SettlingSearch, trial: str, params: Params, has_curve: bool = True) -> None:
    """End a trial with its curve, as a worker does that has run it or that knows its record."""
    curve = curve_of(params["latent_dim"], params[ONE_SEED])
    report = {"fcd_val": min(curve), "finished": True, "training_iteration": 1}
    search.on_trial_complete(trial, {**report, **({CURVE: curve} if has_curve else {})})


def test_seeds_go_to_the_cells_whose_best_step_is_open(
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = SettlingSearch(GRID, ASK_STEPS, STEPS)
    seeds: Counter[int] = Counter()
    while (params := search.suggest(str(seeds.total()))) != Searcher.FINISHED:
        end_trial(search, str(seeds.total()), params)
        seeds[params["latent_dim"]] += 1
    assert max(seeds[2], seeds[8]) < 10 < seeds[4]
    decision = search.decision
    assert decision.question == "best-step" and decision.leader is None
    improved, _, worsened = (decision.steps[cell_key(params)] for params in GRID)
    assert (improved["leader"], improved["helps"]) == (2, "yes")
    assert (worsened["leader"], worsened["helps"]) == (0, "no")
    assert "the best step is decided for 2 of 3 cells; 1 cells get" in capsys.readouterr().out


def test_the_last_open_cell_may_fail_and_the_others_stay_settled() -> None:
    """Dimensions 2 and 8 are decided after three seeds; 4 is open, and its next trial fails."""
    search = SettlingSearch(GRID, ASK_STEPS, STEPS)
    trials = 0
    while (params := search.suggest(str(trials))) != Searcher.FINISHED:
        if search.decision.seeds == 3 and params["latent_dim"] == 4:
            search.on_trial_complete(str(trials), None, error=True)
        else:
            end_trial(search, str(trials), params)
        trials += 1
    decision = search.decision
    assert decision.settled and decision.over and decision.trials == trials == 10
    assert set(decision.steps) == {cell_key(GRID[0]), cell_key(GRID[2])}
    words = describe_decision(decision, str)
    assert words.startswith("settled with 95 % confidence: ") and cell_key(GRID[1]) not in words
    left_out = f"left out, because a trial failed: {cell_key(GRID[1])}"
    assert describe_eliminations(decision, str)[-1] == left_out


def test_no_cell_is_the_best_if_all_that_could_be_it_have_failed() -> None:
    search = SettlingSearch(GRID, SURE)
    trials = 0
    while (params := search.suggest(str(trials))) != Searcher.FINISHED:
        value = close(params["latent_dim"], params[ONE_SEED])
        failed = {FAILED: "it diverged"} if search.decision.seeds else {}
        report = {"fcd_val": value, "training_iteration": 1, **failed}
        search.on_trial_complete(str(trials), report)
        trials += 1
    decision = search.decision
    assert decision.over and not decision.settled and decision.leader is None
    assert decision.eliminated[cell_key(GRID[0])]["seeds"] == 3  # beside the one that has failed
    words = describe_decision(decision, str)
    assert words == "not settled: the cells that were left have all failed"


def test_a_trial_that_had_finished_has_its_curve_from_the_store() -> None:
    first, again, without = (SettlingSearch(GRID, ASK_STEPS, STEPS) for _ in range(3))
    again.curves = {
        (cell_key(params), seed): curve_of(params["latent_dim"], seed)
        for params in GRID
        for seed in range(3)
    }
    for number in range(9):
        end_trial(first, str(number), first.suggest(str(number)))
        end_trial(again, str(number), again.suggest(str(number)), has_curve=False)
    assert asdict(again.decision) == asdict(first.decision) and first.decision.seeds == 3
    end_trial(without, "0", without.suggest("0"), has_curve=False)
    failed = without.decision.eliminated[cell_key(GRID[0])]["failed"]
    assert failed == "the store has no curve of seed 0"


def test_the_seeds_that_a_sweep_has_come_first() -> None:
    assert Settings(0.95, 0.0).order(4) == [0, 1, 2, 3]
    assert Settings(0.95, 0.0, seeds=(5, 1)).order(5) == [5, 1, 0, 2, 3]
    search = SettlingSearch(GRID, Settings(0.95, 0.0, seeds=(7, 0, 3, 2)))
    trials = trials_of(search, clear)
    assert sorted(trials) == [(dim, seed) for dim in (2, 4, 8) for seed in (0, 2, 3, 7)]
    assert search.decision.settled and search.decision.seeds == 4


def test_the_order_of_families_is_asked_of_the_axis_family() -> None:
    grid = [{"family": name, "latent_dim": dim} for name in ("vae", "aae") for dim in (2, 8)]
    search = SettlingSearch(grid, Settings(0.95, 0.0, "family-order"))
    number = 0
    while (params := search.suggest(str(number))) != Searcher.FINISHED:
        value = clear(params["latent_dim"], params[ONE_SEED])
        value -= 10 if params["family"] == "aae" else 0
        search.on_trial_complete(str(number), {"fcd_val": value, "training_iteration": 1})
        number += 1
    assert search.decision.order == ["aae", "vae"] and search.decision.settled and number == 12


@pytest.mark.parametrize(
    ("question", "grid", "record", "message"),
    [
        ("best-cell", GRID[:1], (0, 1), "compares cells: name several values, got trials=1"),
        ("best-step", GRID, (0,), "compares the recorded steps of the first chain: it needs"),
        ("family-order", GRID, (0, 1), r"compares families: name several, got families=\['vae'\]"),
        ("family-order", [{"noise": 0.0}, {"noise": 0.5}], (0, 1), r"got families=\[\]"),
    ],
)
def test_a_question_that_the_axes_cannot_ask_is_refused(
    question: QuestionName, grid: list[Params], record: tuple[int, ...], message: str
) -> None:
    experiment = tiny.experiment()
    chain = dataclasses.replace(experiment.chains[0], record=record)
    cell = dataclasses.replace(experiment, chains=(chain,))
    cells = {cell_key(params): cell for params in grid}
    options = LaunchOptions(until_settled=True, question=question)
    with pytest.raises(ValueError, match=message):
        _settling_plan(grid, cells, options)


def test_a_question_about_steps_needs_only_one_cell() -> None:
    cells = {cell_key(GRID[0]): tiny.experiment()}
    options = LaunchOptions(until_settled=True, question="best-step", max_trials=3)
    assert _settling_plan(GRID[:1], cells, options).max_trials == 3


def test_the_seed_is_in_the_label_and_not_in_the_cell() -> None:
    params = {"family": "vae", "latent_dim": 2, ONE_SEED: 4}
    assert cell_label(params) == "vae latent_dim=2 seed=4"
    assert coordinates(params) == {"family": "vae", "latent_dim": 2}
    assert cell_key(params) == cell_key({"family": "vae", "latent_dim": 2})


@pytest.mark.parametrize("content", ["", "{}", '{"confidence": 1}'])
def test_a_damaged_decision_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / SETTLED).write_text(content)
    assert read_decision(tmp_path) is None
    sealed.write(tmp_path / SETTLED, {"confidence": 0.9, "unknown": 1})
    assert read_decision(tmp_path) is None
