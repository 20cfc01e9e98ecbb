"""What the page says in words, of hand-made runs."""

import pytest

from genae_core.report.explorer.findings import Setting, headlines, sentence, settings_of
from genae_core.report.explorer.gather import Read
from genae_core.tracking.mlflow_store import StoredRun

STEPS = [0, 1, 5]


def run(seed: int, fcd: list[float], chosen: int, family: str = "VAE", images: int = 100) -> Read:
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
        "sweep": "s",
    }
    chain = {"fcd": dict(zip(STEPS, fcd, strict=True))}
    curve = StoredRun(f"{family}{seed}{images}", "FINISHED", tags, {}, scalars, chain)
    given = dict.fromkeys(Read._fields)
    given |= {"curve": curve, "steps": STEPS, "values": {"fcd": list(fcd)}}
    return Read(**given)


def setting(*runs: Read) -> Setting:
    (found,) = settings_of(runs)
    return found


HELPED = [run(0, [100, 50, 90], 1), run(1, [102, 51, 93], 1), run(2, [98, 52, 91], 1)]


@pytest.mark.parametrize(
    ("runs", "verdict", "words"),
    [
        (HELPED, "better", "the chain helps"),
        ([run(s, [50.0 + s, 60, 90], 0) for s in (0, 1)], "none", "no recorded step is better"),
        ([run(s, [50.0 + s / 10, 60, 90], 1) for s in (0, 1)], "worse", "is worse on test"),
        ([run(0, [60, 50, 9], 1), run(1, [60, 65, 9], 1)], "unclear", "do not settle"),
        ([run(0, [60, 50, 9], 1)], "unclear", "1 seed, so no interval"),
    ],
)
def test_a_setting_is_summed_up_by_its_interval(
    runs: list[Read], verdict: str, words: str
) -> None:
    found = setting(*runs)
    assert found.verdict == verdict
    assert words in sentence(found)


def test_the_step_that_is_named_was_recorded_and_belongs_to_its_seeds() -> None:
    two = setting(run(0, [100, 50, 90], 1), run(1, [100, 70, 60], 5))
    assert two.best_step in STEPS
    assert "with each seed at the step that it chose on validation (median 1)" in sentence(two)
    assert two.best[0] == pytest.approx((50 + 60) / 2)


def test_what_holds_over_all_settings() -> None:
    drifts = [run(s, [50.0 + s, 60, 90], 0, "AAE") for s in (0, 1)]
    told = " ".join(headlines(settings_of([*HELPED, *drifts])))
    assert "Of 2 settings the chain improves the FCD in 1" in told
    assert "in 1 no step is better than none" in told
    assert "The lowest FCD is 50.5" in told and "of AAE latent dimension 2" in told
    assert "The chain helps VAE latent dimension 2 (encode decode, batch BN): from" in told
    assert "the lowest of 2, so by chance" in told and "being the most of" not in told
    assert "In 1 setting the last recorded step is worse" in told


def test_fcds_of_unequal_numbers_of_images_are_not_compared() -> None:
    scales = {
        s.scale for s in settings_of([run(0, [9, 8, 7], 1), run(0, [9, 8, 7], 1, "VAE", 50)])
    }
    assert scales == {"digits, 100 images", "digits, 50 images"}
