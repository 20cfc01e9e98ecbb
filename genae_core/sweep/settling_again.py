"""The decision of a sweep that was settled, after seeds were added to it by hand.

A decision rests on the trials of its rounds. Whoever adds seeds (--resume --seeds) wants to know
what all of them say, so the question is judged once more, as another round with all cells.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict

from genae_core.data import sealed
from genae_core.report.decision import SETTLED, Decision, read_decision
from genae_core.sweep.plan import SweepPlace
from genae_core.sweep.settling_questions import Measured, ask
from genae_core.tracking.mlflow_store import StoredRun

Trainings = dict[str, dict[int, Measured]]  # by cell and seed


def decide_again(place: SweepPlace, complete: bool) -> None:
    """Judge a settled sweep's question again if it has more trainings than its decision counts.

    The seeds that all cells have are compared, without cells of which a trial has failed. If these
    are fewer than those of the decision, it stays, and says how many trainings it does not count.

    Args:
        place: The sweep.
        complete: Whether all cells have the seeds that were asked for.
    """
    before = read_decision(place.folder)
    if before is None:
        return
    runs = place.tracker.read_runs(place.name, ("fcd_val",))
    trainings, failed = trainings_of(runs), failed_cells(runs)
    count = sum(map(len, trainings.values()))
    if count <= before.trials + before.added:
        return
    left = {cell: seeds for cell, seeds in trainings.items() if cell not in failed}
    shared = sorted(set.intersection(*map(set, left.values()))) if left else []
    if complete and len(shared) >= max(2, before.seeds):
        decision = Decision(before.confidence, before.indifference, over=before.over)
        decision.earlier = before.earlier or asdict(before)
        decision.eliminated = {
            cell: {"seeds": len(shared), "failed": "a trial failed"} for cell in sorted(failed)
        }
        steps = {run.tags["cell"]: sorted(run.chain.get("fcd_val", {})) for run in _models(runs)}
        question = ask(before.question, decision, [json.loads(cell) for cell in left], steps)
        decision.seeds, decision.trials = len(shared), count
        question.judge_round(
            {cell: [seeds[seed] for seed in shared] for cell, seeds in left.items()}
        )
    else:
        decision = before
        decision.added = count - before.trials
    sealed.write(place.folder / SETTLED, asdict(decision))


def trainings_of(runs: Sequence[StoredRun]) -> Trainings:
    """What each finished training has given, over all its chains."""
    best: dict[tuple[str, int], float] = {}
    curves: dict[tuple[str, int], tuple[float, ...]] = {}
    for run in runs:
        if run.status == "FINISHED":
            key = run.tags["cell"], int(run.tags["seed"])
            value = run.scalars["fcd_val_best"]
            best[key] = min(value, best.get(key, value))
    for run in _models(runs):
        values = sorted(run.chain.get("fcd_val", {}).items())
        curves[run.tags["cell"], int(run.tags["seed"])] = tuple(value for _, value in values)
    trainings: Trainings = defaultdict(dict)
    for (cell, seed), value in best.items():
        trainings[cell][seed] = Measured(value, curves.get((cell, seed), ()))
    return dict(trainings)


def failed_cells(runs: Sequence[StoredRun]) -> set[str]:
    """The cells of which a seed has no finished run of the first chain."""
    finished = {(run.tags["cell"], run.tags["seed"]) for run in _models(runs)}
    return {
        run.tags["cell"] for run in runs if (run.tags["cell"], run.tags["seed"]) not in finished
    }


def _models(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The finished runs of the first chains."""
    return [run for run in runs if run.status == "FINISHED" and run.tags.get("stage") == "model"]
