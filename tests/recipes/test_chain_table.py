"""The words and the table of a study of samplers, on curves with a known answer."""

import json

from genae_core.priors.ex_post import ExPostMixture
from genae_core.recipes.chain_findings import describe_chains
from genae_core.recipes.chain_samplers import Refusal
from genae_core.recipes.chain_table import ModelName, group_runs, table
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.sweep.runs import chain_label
from genae_core.tracking.mlflow_store import StoredRun

PUBLISHED = ChainConfig(sampler=EncodeDecode())
CLEAN = ChainConfig(sampler=EncodeDecode(corrupt=False), batch_norm="running")
REFINED = ChainConfig(sampler=EncodeDecode(), fitted_prior=ExPostMixture())
LABELS = [chain_label(chain) for chain in (PUBLISHED, CLEAN, REFINED)]


def curve(chain: ChainConfig, seed: int, values: dict[int, float], **chains: float) -> StoredRun:
    best = min(values, key=lambda step: values[step])
    scalars = {
        "fcd_step0": values[0],
        "fcd_best": values[best],
        "fcd_val_best": values[best],
        "fcd_best_step": float(best),
    }
    tags = {
        "family": "VAE",
        "cell": json.dumps({"family": "vae", "latent_dim": 10}),
        "chain": chain_label(chain),
        "seed": str(seed),
    }
    more = {name: dict.fromkeys(values, value) for name, value in chains.items()}
    return StoredRun(f"{seed}", "FINISHED", tags, {}, scalars, {"fcd": values, **more})


def runs() -> list[StoredRun]:
    curves = []
    for seed, shift in enumerate((0.0, 2.0, 4.0)):
        curves.append(curve(PUBLISHED, seed, {0: 200 + shift, 5: 100 + shift, 50: 150 + shift}))
        curves.append(curve(CLEAN, seed, {0: 100.0, 5: 110.0 + seed, 50: 300.0}))
        refined = {0: 60 + shift, 5: 50 + shift, 50: 55 + shift}
        curves.append(curve(REFINED, seed, refined, kid=0.2))
    return curves


def test_a_label_says_what_is_not_the_default() -> None:
    assert LABELS == [
        "encode decode, batch BN",
        "encode decode (corrupt=False), running BN",
        "encode decode, ex post mixture, batch BN",
    ]


def test_the_words_say_what_the_numbers_say() -> None:
    model, chains = next(iter(group_runs(runs()[::-1]).items()))
    assert str(model) == "VAE-10"
    said = describe_chains(str(model), chains, LABELS)
    # The seeds are 0, 2 and 4 above the first one, so half the interval of a mean is 4.97.
    assert "Without MCMC, the mean FCD over 3 seeds is 202.0 (95 %: 197.0 to 207.0)." in said
    assert (
        "At the best steps of its seeds (median 5), the FCD is 102.0 (95 %: 97.0 to 107.0), "
        "which is a change of −100.0 (95 %: −100.0 to −100.0). The chain helps." in said
    )
    assert (
        "At the last step (50), the FCD is 152.0 (95 %: 147.0 to 157.0), which is a change of "
        "50.0 (95 %: 50.0 to 50.0) from the best step: more steps hurt." in said
    )
    assert (
        "The best other chain on validation is encode decode, ex post mixture, batch BN: its FCD "
        "at the best steps of its seeds (median 5) is 52.0 (95 %: 47.0 to 57.0), lower (a change "
        "of −50.0 (95 %: −50.0 to −50.0) from the first chain's best)." in said
    )
    assert said.endswith(
        "Of the other chains, these are worse after 50 steps than without MCMC: encode decode "
        "(corrupt=False), running BN."
    )


def test_a_help_that_the_seeds_do_not_settle_is_not_claimed() -> None:
    values = zip((100.0, 110.0, 90.0), (95.0, 96.0, 97.0), (105.0, 106.0, 107.0), strict=True)
    curves = [
        curve(PUBLISHED, seed, {0: start, 5: best, 50: end})
        for seed, (start, best, end) in enumerate(values)
    ]
    for run in curves:  # chosen on validation
        run.scalars["fcd_best"], run.scalars["fcd_best_step"] = run.chain["fcd"][5], 5.0
    ((model, chains),) = group_runs(curves).items()
    said = describe_chains(str(model), chains, LABELS)
    assert "from the best step: more steps hurt." in said
    assert "Whether the chain helps is not known yet: more seeds would tell." in said


def test_a_difference_within_the_noise_is_not_called_one() -> None:
    noisy = [
        curve(PUBLISHED, seed, {0: 100.0 + wobble, 50: 101.0 - wobble})
        for seed, wobble in enumerate((-8.0, 0.0, 9.0))
    ]
    ((model, chains),) = group_runs(noisy).items()
    said = describe_chains(str(model), chains, LABELS)
    assert (
        "it is not known yet whether more steps hurt" in said
        and "worse" not in said
        and "lower" not in said
    )


def test_one_seed_settles_nothing() -> None:
    ((model, chains),) = group_runs([run for run in runs() if run.tags["seed"] == "0"]).items()
    said = describe_chains(str(model), chains, LABELS)
    assert "One seed does not say whether the chain helps." in said
    assert "The best other chain on validation is encode decode, ex post mixture" in said
    assert "50.0, of one seed, so trainings were not compared" in said
    assert "worse" not in said and "lower" not in said


def test_a_blind_classifier_says_nothing() -> None:
    ((model, chains),) = group_runs(runs()).items()
    chains[LABELS[0]][0].tags["ruler"] = "blind: no feature varies"
    said = describe_chains(str(model), chains, LABELS)
    assert said == "VAE-10: the FCD's classifier measures nothing, so the FCDs say nothing."


def test_what_does_not_apply_is_a_row_with_its_reason() -> None:
    known = [run for run in runs() if run.tags["chain"] != LABELS[1]]
    refused = {("VAE", 10): [Refusal(LABELS[1], "it corrupts nothing: at all")]}
    lines = table(group_runs(known), LABELS, refused).splitlines()
    assert [line.split()[0] for line in lines[2:9]] == ["VAE-10"] * 7
    (row,) = [line for line in lines if "n/a " in line]
    assert LABELS[1] in row
    assert lines[-1] == f"n/a: {LABELS[1]}: it corrupts nothing"
    assert "102.0 ± 2.0" in lines[3] and "0.20" in lines[-2]
    assert ModelName("VAE", 10) in group_runs(known)


def test_a_chain_without_steps_is_no_chain() -> None:
    drawn = ChainConfig(sampler=Ancestral(), record=(0,))
    label = chain_label(drawn)
    said = describe_chains("GAN-2", {label: [curve(drawn, 0, {0: 12.0})]}, [*LABELS, label])
    assert said == (
        "GAN-2, ancestral, batch BN: Without MCMC, the FCD of the only seed is 12.0. No other "
        "step was recorded."
    )
