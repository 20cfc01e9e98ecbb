"""The sentences that the page says about hand-made runs."""

import pytest

from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.findings import describe, headlines
from genae_core.report.explorer.gather import FinishedRun
from genae_core.report.explorer.summaries import SettingSummary, summarise
from genae_core.tracking.mlflow_store import StoredRun

STEPS = [0, 1, 5]


def run(
    seed: int,
    fcd: list[float],
    chosen: int,
    family: str = "VAE",
    images: int = 100,
    ruler: str = "sound: it measures",
) -> FinishedRun:
    scalars = {
        "fcd_step0": fcd[0],
        "fcd_best": fcd[STEPS.index(chosen)],
        "fcd_best_step": float(chosen),
        "fcd_floor": 2.0,
        "fcd_images": float(images),
    }
    tags = {
        "dataset": "digits",
        "family": family,
        "cell": '{"latent_dim": 2}',
        "chain": "encode decode, batch BN",
        "seed": str(seed),
        "latent_dim": "2",
        "sweep": "s",
        "ruler": ruler,
    }
    chain = {"fcd": dict(zip(STEPS, fcd, strict=True))}
    stored = StoredRun(f"{family}{seed}{images}", "FINISHED", tags, {}, scalars, chain)
    fields = dict.fromkeys(FinishedRun._fields)
    fields |= {"stored": stored, "steps": STEPS, "values": {"fcd": list(fcd)}}
    return FinishedRun(**fields)


def summary_of(*runs: FinishedRun) -> SettingSummary:
    (summary,) = summarise(runs)
    return summary


HELPED = [run(0, [100, 50, 90], 1), run(1, [102, 51, 93], 1), run(2, [98, 52, 91], 1)]


@pytest.mark.parametrize(
    ("runs", "verdict", "words"),
    [
        (HELPED, "better", "The chain helps."),
        ([run(s, [50.0 + s, 60, 90], 0) for s in (0, 1)], "none", "No recorded step is better."),
        ([run(s, [50.0 + s / 10, 60, 90], 1) for s in (0, 1)], "worse", "is worse on test"),
        ([run(0, [60, 50, 9], 1), run(1, [60, 65, 9], 1)], "unclear", "do not settle"),
        ([run(0, [60, 50, 9], 1)], "unclear", "One seed does not settle"),
    ],
)
def test_the_verdict_follows_the_interval_of_the_change(
    runs: list[FinishedRun], verdict: str, words: str
) -> None:
    summary = summary_of(*runs)
    assert summary.verdict == verdict
    assert words in describe(summary)


def test_the_best_step_is_a_recorded_one() -> None:
    two = summary_of(run(0, [100, 50, 90], 1), run(1, [100, 70, 60], 5))
    assert two.best_step in STEPS
    assert "At the steps that the seeds chose on validation (median 1)" in describe(two)
    assert two.best[0] == pytest.approx((50 + 60) / 2)


def test_headlines_over_all_settings() -> None:
    drifts = [run(s, [50.0 + s, 60, 90], 0, "AAE") for s in (0, 1)]
    text = " ".join(headlines(summarise([*HELPED, *drifts])))
    assert "The chain improves the FCD in 1 of 2 settings" in text
    assert "In 1 setting no step is better than step 0." in text
    assert "The lowest FCD is 50.5" in text and "which AAE with latent dimension 2" in text
    assert "The chain helps VAE with latent dimension 2 (encode decode, batch BN): the FCD" in text
    assert "the lowest of 2 values" in text and "the largest of" not in text
    assert "In 1 setting the last recorded step is worse" in text


def test_fcds_of_unequal_numbers_of_images_are_not_compared() -> None:
    scales = {s.scale for s in summarise([run(0, [9, 8, 7], 1), run(0, [9, 8, 7], 1, "VAE", 50)])}
    assert scales == {"digits, 100 images", "digits, 50 images"}


def test_the_findings_end_with_what_the_classifier_can_measure() -> None:
    assert headlines(summarise(HELPED))[-1] == "Ruler: sound: it measures."


def test_nothing_is_found_with_a_blind_classifier() -> None:
    """Neither a verdict, nor a best step, nor a lowest FCD; the numbers stay."""
    line = "blind: no feature varies"
    blind = [run(seed, [9.0, 1.0, 5.0], 1, ruler=line) for seed in (0, 1, 2)]
    summary = summary_of(*blind)
    assert summary.verdict == "blind" and not summary.worsens
    assert describe(summary) == "The classifier measures nothing, so the FCDs say nothing."
    assert headlines([summary]) == [f"Ruler: {line}."]
    page = page_data("sqlite:///x", [summary], blind, [])
    (setting,) = page["settings"]
    assert setting["best"] == setting["change"] == (None, None, None)
    assert setting["bestStep"] is None
    assert all("fcd_best" not in row["scalars"] for row in page["runs"])
    assert page["runs"][0]["values"]["fcd"] == [9.0, 1.0, 5.0]
    both = headlines([*summarise(HELPED), summary])
    assert "The lowest FCD is 51.0" in both[1] and both[-2:] == [
        "Ruler: sound: it measures.",
        f"Ruler: {line}.",
    ]
