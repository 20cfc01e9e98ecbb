"""The best and the recommended step: one number and one name each, wherever they are printed."""

import pytest
from report.test_findings import run

from genae_core.recipes.chain_findings import describe_chains
from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.findings import headlines
from genae_core.report.explorer.summaries import summarise
from genae_core.report.steps import DEFINITION, RECOMMENDED_IS
from genae_core.report.tables import format_table


@pytest.mark.parametrize(
    ("best", "recommended", "shown"),
    [
        ([5], [1], (5, 1)),
        ([5, 5, 1], [1, 1, 0], (5, 1)),
        ([5, 1], [1, 0], (1, 0)),  # of two the lower one, which is a recorded step
    ],
)
def test_table_page_and_findings_say_the_same_steps(
    best: list[int], recommended: list[int], shown: tuple[int, int]
) -> None:
    runs = [run(seed, [100.0, 60.0, 50.0 + seed], step) for seed, step in enumerate(best)]
    fcds = dict(zip((0, 1, 5), (100.0, 60.0, 50.0), strict=True))
    for one, step in zip(runs, recommended, strict=True):
        scalars = {"fcd_recommended_step": float(step), "fcd_recommended": fcds[step]}
        one.stored.scalars.update(scalars)
    head, _, row, *_ = table = format_table([one.stored for one in runs]).splitlines()
    assert head.split()[-10:-5] == ["best", "best", "step", "recommended", "step"]
    assert tuple(int(cell) for cell in row.split()[-5:-3]) == shown
    assert DEFINITION in table

    summaries = summarise(runs)
    page = page_data("sqlite:///x", summaries, runs, [])
    (setting,) = page["settings"]
    assert (setting["bestStep"], setting["recommendedStep"]) == shown
    steps = [row["scalars"]["fcd_recommended_step"] for row in page["runs"]]
    assert steps == recommended and page["stepsDefinition"] == DEFINITION

    words = f"The recommended step is {shown[1]}"
    findings = describe_chains("VAE-2", {"chain": [one.stored for one in runs]}, ["chain"])
    leading, *others = headlines(summaries)
    assert words in setting["words"] and words in findings and words in leading
    assert DEFINITION[1:] in " ".join(others) and RECOMMENDED_IS in DEFINITION
