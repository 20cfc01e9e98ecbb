"""Which runs a claim lacks, and the command that makes them."""

import shlex
from collections.abc import Mapping, Sequence

from genae_core.recipes.claim_models import MEASURES
from genae_core.recipes.claim_runs import Row, Runs, StoredClaim, measure, models_of
from genae_core.recipes.options import Paper
from genae_core.tracking.mlflow_store import StoredRun

# Flags of a study that the command for more seeds sets, with the number of their values; None is
# any number.
REPLACED: Mapping[str, int | None] = {"--seeds": None, "--name": 1, "--resume": 0}


def missing_runs(claim: StoredClaim, runs: Runs, paper: Paper, rows: Sequence[Row] = ()) -> str:
    """Which runs a claim lacks, and the command that makes them; empty if it lacks none.

    Args:
        claim: The claim.
        runs: The finished runs by model and setting.
        paper: The paper of the claim.
        rows: The rows of tables.
    """
    if claim.rows is not None:
        return "" if measure(claim, runs, rows) else f"no rows; this makes them: {claim.command}"
    models = models_of([claim])
    among = {key: by_seed for key, by_seed in runs.items() if key[1].chain in claim.chains}
    lacking = [name for name in models if name not in {model for model, _ in among}]
    if lacking:
        every = [run for by_seed in runs.values() for run in by_seed.values()]
        unfinished = [run for run in every if _trains(run, claim, paper)]
        if unfinished and not claim.command:
            sweep = unfinished[0].tags["sweep"]
            trained = {int(run.tags["seed"]) for run in every if run.tags["sweep"] == sweep}
            command = more_seeds(unfinished[0], sorted(trained))
        else:
            command = claim.command or _study_command(claim, every, paper)
        return f"no runs of {', '.join(lacking)}; this makes them: {command}"
    few = {key: by_seed for key, by_seed in among.items() if key[0] in models}
    seeds = sorted({seed for by_seed in few.values() for seed in by_seed})
    short = [(key, by_seed) for key, by_seed in few.items() if set(by_seed) != set(seeds)]
    if short:
        (model, setting), by_seed = short[0]
        absent = ", ".join(str(seed) for seed in seeds if seed not in by_seed)
        others = f", and {len(short) - 1} other settings lack some" if len(short) > 1 else ""
        command = more_seeds(next(iter(by_seed.values())), seeds)
        return (
            f"no runs of {model} in {setting.sweep} with the seeds {absent}{others}; this makes "
            f"them: {command}"
        )
    condition = MEASURES[claim.needs].needs if claim.needs else ""
    if condition and not measure(claim, runs):
        return f"it needs {condition}"
    return ""


def _trains(run: StoredRun, claim: StoredClaim, paper: Paper) -> bool:
    """Whether the sweep of a run trains all models of the claim, so that it only has to go on."""
    words = shlex.split(run.tags.get("command", ""))
    is_study = any(word.endswith("claims.py") for word in words)
    is_paper = paper in words or (paper == "creswell" and "--paper" not in words)
    is_claim = claim.claim.name in words or "--claims" not in words
    return is_study and is_paper and is_claim and "--families" not in words


def _study_command(claim: StoredClaim, runs: Sequence[StoredRun], paper: Paper) -> str:
    """The command of the study of claims that makes the runs of a claim."""
    datasets = sorted({run.tags["dataset"] for run in runs})
    dataset = datasets[0] if len(datasets) == 1 else "NAME"
    files = "" if dataset == "digits" else " --data-root DIR"
    return (
        f"python sweeps/claims.py --paper {paper} --claims {claim.claim.name} "
        f"--dataset {dataset}{files}"
    )


def more_seeds(run: StoredRun, seeds: Sequence[int]) -> str:
    """The command that continues the sweep of a run until it has these seeds.

    Args:
        run: A run of the sweep.
        seeds: The seeds.
    """
    words = shlex.split(run.tags.get("command", "python sweeps/claims.py"))
    kept: list[str] = []
    left: int | None = 0  # values of a replaced flag that follow
    for word in words:
        if word.startswith("--"):
            flag, equals, _ = word.partition("=")
            left = 0 if equals else REPLACED.get(flag, 0)
            if flag not in REPLACED:
                kept.append(word)
        elif left == 0:
            kept.append(word)
        elif left is not None:
            left -= 1
    # The tables take the number of seeds.
    is_table = run.tags.get("study") == "paper_tables"
    numbers = [str(max(seeds) + 1)] if is_table else list(map(str, seeds))
    added = ["--name", run.tags["sweep"], "--resume", "--seeds", *numbers]
    return shlex.join([*kept, *added])
