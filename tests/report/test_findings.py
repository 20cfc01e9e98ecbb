"""The sentences that the page says about hand-made runs."""

import pytest

from genae_core.report.decision import Decision
from genae_core.report.explorer.data import page_data
from genae_core.report.explorer.findings import decision_paragraphs, describe, headlines
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
        (
            [run(s, [50.0 + s / 10, 60, 90], 1) for s in (0, 1)],
            "worse",
            "is worse than step 0 on test",
        ),
        ([run(0, [60, 50, 9], 1), run(1, [60, 65, 9], 1)], "unclear", "is not known yet"),
        ([run(0, [60, 50, 9], 1)], "unclear", "One seed does not say"),
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
    assert "At the best steps of its seeds (median 1)" in describe(two)
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


def alone(family: str, fcd: list[float], error: float | None = None) -> FinishedRun:
    """The only seed of a setting, whose change has this standard error."""
    one = run(0, fcd, 1, family)
    if error is not None:
        one.stored.scalars["fcd_change_se"] = error
    return one


def test_settings_without_a_chain_are_not_counted_among_those_that_it_does_not_help() -> None:
    """A family without an encoder is sampled at step 0 only."""
    draws = []
    for seed in (0, 1):
        helped = run(seed, [20.0 + seed, 0, 0], 0, "GAN")
        chain = {"fcd": {0: 20.0 + seed}}
        stored = helped.stored._replace(chain=chain)
        draws.append(helped._replace(stored=stored, steps=[0], values={"fcd": [20.0 + seed]}))
    text = " ".join(headlines(summarise([*HELPED, *draws])))
    assert "The chain improves the FCD in 1 of 1 setting," in text
    assert "In 1 setting no chain was run: the samples are those of step 0." in text
    assert "which GAN with latent dimension 2 (encode decode, batch BN) reaches without a" in text


def test_one_seed_leads_with_the_finding_and_says_that_trainings_were_not_compared() -> None:
    """The AAE gains ten errors and the VAE one; whether others would gain, nobody knows."""
    settings = summarise([alone("AAE", [100, 60, 90], 4.0), alone("VAE", [50, 48, 70], 2.0)])
    lowest, gain, sure, *_ = headlines(settings)
    assert lowest.startswith(
        "The lowest FCD is 48.0, which VAE with latent dimension 2 (encode decode, batch BN) "
        "reaches at its best step (1), from 50.0 at step 0. Real images have an FCD of 2.00."
    )
    assert gain == (
        "The chain helps AAE with latent dimension 2 (encode decode, batch BN): the FCD falls "
        "from 100.0 to 60.0 (standard error of the change 4.00) at its best step (1), which is "
        "0.60 times its value without MCMC."
    )
    assert sure == (
        "2 settings were trained with one seed, so trainings were not compared: another seed may "
        "give other values. In these trainings the chain improves the FCD in 1 of 2 settings by "
        "more than two standard errors, which come from blocks of chains, before and after."
    )
    helped, unclear = (describe(setting) for setting in settings)
    assert "a change of −40.0 ± 4.00 (standard error over blocks of the same chains)" in helped
    assert "In this training the chain helps; another seed may give another answer." in helped
    assert "In this training the chain has no clear effect" in unclear


def test_one_seed_of_an_earlier_version_has_a_fall_without_a_claim() -> None:
    lowest, gain, sure, *_ = headlines(summarise([alone("AAE", [100, 60, 90])]))
    assert lowest.startswith("The lowest FCD is 60.0")
    assert gain.startswith(
        "The FCD of AAE with latent dimension 2 (encode decode, batch BN) falls from"
    )
    assert sure == (
        "1 setting was trained with one seed, so trainings were not compared: another seed may "
        "give other values."
    )


def test_a_decision_leads_the_findings_with_the_names_of_the_page() -> None:
    cell = '{"latent_dim": 2}'
    decision = Decision(0.95, 0.0, settled=True, over=True, leader=cell, seeds=4, trials=7)
    behind = {"seeds": 3, "difference": 12.0, "low": 2.0, "high": 22.0}
    decision.eliminated['{"family": "wae", "latent_dim": 8}'] = behind
    decision_says = decision_paragraphs(decision, summarise(HELPED))
    assert decision_says == [
        "Settled with 95 % confidence: VAE with latent dimension 2 has the lowest FCD on "
        "validation of 2 cells (7 trials, 4 seeds of the cells that were left).",
        "Certainly worse after 3 seeds: wae latent_dim=8 (by 12.0: 2.0 to 22.0).",
    ]
    page = page_data("sqlite:///x", summarise(HELPED), HELPED, [], {"s": decision})
    findings = page["scales"][0]["findings"]
    assert findings[0] == decision_says[0]
    assert findings[1].startswith("The lowest FCD is 51.0")
    # What was eliminated is long, and so comes after what the first screen shows.
    assert findings.index(decision_says[1]) > 2


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
    assert "The lowest FCD is 51.0" in both[0] and both[-2:] == [
        "Ruler: sound: it measures.",
        f"Ruler: {line}.",
    ]
