import math

import pytest

from genae_core.report.tables import format_table, format_times, share_rulers
from genae_core.tracking.mlflow_store import PRECISION, RULER, StoredRun


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


def measured(seed: int, floor: float = 2.0, ruler: str | None = None) -> StoredRun:
    scalars = {"fcd_step0": 8.0, "fcd_best": 4.0, "fcd_best_step": 5.0, "fcd_floor": floor}
    tags = {"cell": "{}", "family": "VAE", "seed": str(seed), "chain": "a"}
    if ruler is not None:
        tags[RULER] = ruler
    return StoredRun(str(seed), "FINISHED", tags, {}, scalars, {"fcd": {0: 8.0, 5: 4.0}})


def test_a_table_says_what_the_classifier_can_measure() -> None:
    runs = [measured(seed, ruler="sound: 90% accurate") for seed in (0, 1)]
    *rows, last = format_table(runs).splitlines()
    assert last == "ruler: sound: 90% accurate"
    assert len(rows) == 3 and rows[2].split()[-5:] == ["0.00", "5", "0.50", "4.0", "2.0"]
    unknown = format_table([measured(0)]).splitlines()[-1]
    assert unknown == "ruler: not checked by the version that made these runs"


def test_a_table_has_the_recommended_step_beside_that_of_the_lowest_fcd() -> None:
    runs = [measured(seed, ruler="sound: 90% accurate") for seed in (0, 1, 2)]
    for one, step in zip(runs, (1.0, 1.0, 5.0), strict=True):
        one.scalars["fcd_recommended_step"] = step
    head, _, row, line, _ = format_table(runs).splitlines()
    assert "best step  recommended step  best/step 0" in head
    assert row.split()[-6:] == ["0.00", "5", "1", "0.50", "4.0", "2.0"]
    assert line.startswith(
        "best step: the one with the lowest FCD on validation images; recommended step: the first"
    )


def test_no_fcd_of_a_blind_classifier_is_the_best() -> None:
    """Also not in a cell whose other seed was run by a version that did not check it."""
    table = format_table([measured(0), measured(1, ruler="blind: no feature varies")])
    rows = table.splitlines()
    assert rows[2].split()[-5:] == ["n/a"] * 5
    assert rows[3:] == [
        "ruler: not checked by the version that made these runs",
        "ruler: blind: no feature varies",
    ]


def test_runs_of_the_same_classifier_share_its_ruler() -> None:
    """So a resumed sweep says what the classifier of its earlier runs can measure."""
    runs = [measured(0), measured(1, ruler="blind: no feature varies"), measured(2)]
    for run, sha256 in zip(runs, ("a", "a", "b"), strict=True):
        run.tags["classifier_sha256"] = sha256
    first, _, last = share_rulers(runs)
    assert first.tags[RULER] == "blind: no feature varies" and RULER not in last.tags
    assert RULER not in runs[0].tags
    assert format_table(runs[:2]).splitlines()[3:] == ["ruler: blind: no feature varies"]


@pytest.mark.parametrize("floor", [0.0, -0.0, math.nan])
def test_a_run_of_an_earlier_version_with_a_floor_of_zero_is_blind(floor: float) -> None:
    lines = format_table([measured(0, floor)]).splitlines()
    assert lines[2].split()[-5:] == ["n/a"] * 5
    assert lines[3] == "ruler: blind: real images have no FCD above 0"


def test_a_table_names_the_classifier_and_warns_of_a_second_one() -> None:
    runs = [measured(seed, ruler="sound: 90% accurate") for seed in (0, 1)]
    for run in runs:
        run.tags["classifier_sha256"] = "ab" * 32
    runs[1].tags["classifier"] = "mnist abababab (shipped with genae)"
    line = "ruler: sound: 90% accurate; classifier mnist abababab (shipped with genae)"
    assert format_table(runs).splitlines()[3:] == [line]
    runs[0].tags["classifier_sha256"] = "cd" * 32
    assert format_table(runs).splitlines()[3:] == [
        "ruler: sound: 90% accurate",
        line,
        "warning: 2 classifiers have measured these runs (abababab, cdcdcdcd), and their FCDs "
        "cannot be compared",
    ]


def test_a_table_says_how_the_models_compute() -> None:
    """Runs of earlier versions do not say it, and then the table does not."""
    runs = [measured(seed, ruler="sound: 90% accurate") for seed in (0, 1, 2)]
    for one, precision in zip(runs, ("bf16 (measured)", "bf16 (measured)"), strict=False):
        one.tags[PRECISION] = precision
    *_, ruler, last = format_table(runs).splitlines()
    assert (ruler, last) == ("ruler: sound: 90% accurate", "precision: bf16 (measured)")
