from genae_core.report.tables import format_times
from genae_core.tracking.mlflow_store import StoredRun


def run(seed: int, chain: str, status: str = "FINISHED", training: float = 40.0) -> StoredRun:
    scalars = {"training_seconds": training, "evaluation_seconds": 5.0}
    tags = {"cell": "{}", "seed": str(seed), "chain": chain}
    return StoredRun(f"{seed}{chain}", status, tags, {}, scalars, {})


def test_the_time_of_a_training_with_several_chains_is_counted_once() -> None:
    runs = [run(seed, chain) for seed in (0, 1) for chain in "ab"]
    said = format_times(runs, slots=2, seconds=100.0)
    assert said == "time:   2 x 100 s: 40% training, 10% chains and metrics, 50% the rest"


def test_there_is_no_time_line_if_a_run_has_not_finished() -> None:
    assert format_times([run(0, "a"), run(1, "a", "KILLED")], 2, 100.0) == ""
    assert format_times([], 2, 100.0) == ""
