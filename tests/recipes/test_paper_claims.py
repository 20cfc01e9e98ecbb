"""The claims of each paper on runs whose values are known, and the models that they are about."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from genae_core.models.aae import AAEConfig
from genae_core.models.adv_ae import AdvAEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.priors.flow import FlowPriorConfig
from genae_core.priors.mixture import RingPriorConfig
from genae_core.recipes.claim_models import MEASURES
from genae_core.recipes.claim_runs import CHAINS, DRAWS, group_runs, measure, models_of, split_cell
from genae_core.recipes.claim_statistics import falling_share, first_of
from genae_core.recipes.datasets import dataset_recipe
from genae_core.recipes.ledger_files import decide_claims, read_table
from genae_core.recipes.options import Paper, StudyOptions
from genae_core.recipes.paper_claims import (
    PAPERS,
    claim_axes,
    claims_of,
    families_of,
    paper_experiment,
)
from genae_core.recipes.study import study_experiment
from genae_core.samplers.ancestral import Ancestral
from genae_core.tracking.mlflow_store import StoredRun

DRAW, *_ = DRAWS
DIGITS = StudyOptions(families=("vae", "aae", "gan", "gmmn_ae", "flow_ae", "adv_ae"))


def drawn(
    cell: dict[str, object], seed: int, scalars: dict[str, float] | None = None, **chain: float
) -> StoredRun:
    """A run of draws, with these metrics at step 0."""
    tags = {"sweep": "s", "dataset": "mnist", "seed": str(seed), "cell": json.dumps(cell)}
    curves = {name: {0: value} for name, value in chain.items()}
    run_id = f"{cell}-{seed}"
    return StoredRun(run_id, "FINISHED", {**tags, "chain": DRAW}, {}, scalars or {}, curves)


def values(paper: Paper, name: str, runs: list[StoredRun]) -> dict[str, dict[int, float]]:
    """The values of a claim by setting."""
    (claim,) = claims_of(paper, [name])
    return {one.setting: one.values for one in measure(claim, group_runs(runs))}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_model_of_a_claim_can_be_trained(paper: Paper) -> None:
    one = PAPERS[paper]
    for claim in one.claims:
        assert claim.needs in ("", *MEASURES)
        assert claim.command or set(models_of([claim])) <= set(one.models)
    for name, model in one.models.items():
        families = families_of(paper, [name])
        assert families == (model.family,)
        options = replace(DIGITS, families=families)
        params = {one.axis: name, **({"latent_dim": 3} if one.latent_dims else {})}
        experiment = paper_experiment(paper, params, options)
        expected = 3 if one.latent_dims else model.latent_dim or 2
        assert experiment.model.latent_dim == expected
        chain = experiment.chains[0]
        assert isinstance(chain.sampler, Ancestral) != one.has_chain


def test_the_cells_of_creswell_are_those_of_the_other_studies() -> None:
    chain = dataset_recipe(DIGITS).chain()
    for name in ("vae", "aae"):
        cell = paper_experiment("creswell", {"family": name, "latent_dim": 5}, DIGITS)
        assert cell == study_experiment(DIGITS, name, 5, (chain,))


def test_the_models_of_sridhar_differ_in_what_their_names_say() -> None:
    def model(name: str) -> object:
        return paper_experiment("sridhar", {"model": name, "latent_dim": 4}, DIGITS).model

    planar, convolutional = model("planar flow"), model("convolutional")
    assert isinstance(planar, FlowAEConfig) and planar.flow.kind == "planar"
    assert isinstance(convolutional, FlowAEConfig)
    assert isinstance(convolutional.autoencoder.net, DCGANConfig)
    joint, adversarial = model("joint flow"), model("AdvAE (GAN)")
    assert isinstance(joint, VAEConfig) and isinstance(joint.prior, FlowPriorConfig)
    assert isinstance(adversarial, AdvAEConfig)
    assert adversarial.divergence != AdvAEConfig().divergence


def test_the_planes_of_makhzani_are_those_of_the_figures() -> None:
    model = paper_experiment("makhzani", {"model": "mixture_aae"}, DIGITS).model
    assert isinstance(model, AAEConfig) and isinstance(model.prior, RingPriorConfig)
    assert split_cell({"figure": "mixture_aae"}) == ("mixture_aae", {})  # of paper_figures.py
    assert split_cell({"gamma": 0.5}) == ("gamma=0.5", {})
    assert split_cell({"model": "MAF", "latent_dim": 10}) == ("MAF", {"latent_dim": 10})


def test_the_axes_follow_from_the_claims_and_the_flags() -> None:
    claims = claims_of("sridhar", ["wgan-better"])
    assert claim_axes("sridhar", claims, DIGITS, None) == {
        "model": ["adv_ae", "AdvAE (GAN)"],
        "latent_dim": (10,),
    }
    few = replace(DIGITS, families=("vae", "gan"))
    planes = claims_of("makhzani", ["fills"])
    assert claim_axes("makhzani", planes, few, None) == {"model": ["gaussian_vae", "mixture_vae"]}
    with pytest.raises(ValueError, match="leave out --latent-dims"):
        claim_axes("makhzani", planes, DIGITS, (2,))
    with pytest.raises(ValueError, match="trains no model of --families"):
        claim_axes("makhzani", planes, replace(DIGITS, families=("gan",)), None)


def test_holes_are_compared_within_a_prior() -> None:
    runs = [
        drawn({"model": "gaussian_aae"}, 0, {"empty_cells": 0.1, "codes_prior_w2": 0.02}),
        drawn({"model": "gaussian_vae"}, 0, {"empty_cells": 0.25, "codes_prior_w2": 0.04}),
        drawn({"model": "mixture_vae"}, 0, {"empty_cells": 0.5}),
    ]
    assert values("makhzani", "fills", runs) == {
        "gaussian aae/gaussian vae": {0: pytest.approx(-0.15)}
    }
    assert values("makhzani", "matches", runs) == {"gaussian aae/gaussian vae": {0: 0.5}}


def test_likelihoods_are_subtracted_in_the_order_of_the_table() -> None:
    runs = [
        drawn({"model": name}, 1, parzen=nats)
        for name, nats in (("aae", 300.0), ("gmmn_ae", 280.0), ("gan", 225.0))
    ]
    assert values("makhzani", "likelihood-order", runs) == {
        "AAE/GMMN-AE": {1: 20.0},
        "GMMN-AE/GAN": {1: 55.0},
    }


def test_the_start_of_the_published_chain_is_compared_with_draws() -> None:
    run = drawn({"model": "flow_ae", "latent_dim": 10}, 0, fcd=1.0)
    other = drawn({"model": "vae", "latent_dim": 10}, 0, fcd=2.0)
    assert values("sridhar", "beats-vae", [run, other]) == {"FLOW-AE/VAE-10": {0: 0.5}}
    batch, running = CHAINS
    chains = [one._replace(tags={**one.tags, "chain": running}) for one in (run, other)]
    chains[1] = chains[1]._replace(chain={"fcd": {0: 4.0, 1: 3.0}})
    assert values("sridhar", "beats-vae", [run, chains[1]]) == {"FLOW-AE/VAE-10": {0: 0.25}}
    both = [run, other, *chains]  # the runs of draws alone come first
    assert values("sridhar", "beats-vae", both) == {"FLOW-AE/VAE-10": {0: 0.5}}
    normalised = other._replace(tags={**other.tags, "chain": batch})
    assert not values("sridhar", "beats-vae", [run, normalised])


def test_spreads_are_distances_from_the_median_on_a_log_scale() -> None:
    fcds = {"adv_ae": (10.0, 20.0, 20.0), "AdvAE (GAN)": (10.0, 40.0, 20.0)}
    runs = [
        drawn({"model": name}, seed, fcd=fcd)
        for name, of_seeds in fcds.items()
        for seed, fcd in enumerate(of_seeds)
    ]
    ((setting, by_seed),) = values("sridhar", "wgan-steadier", runs).items()
    assert setting == "ADV-AE/AdvAE (GAN)"
    assert by_seed == pytest.approx({0: 0, 1: -math.log(2), 2: 0})
    two = [run for run in runs if run.tags["seed"] != "2"]
    assert not values("sridhar", "wgan-steadier", two)


def test_the_share_of_windows_in_which_a_loss_falls() -> None:
    def run(losses: list[float]) -> StoredRun:
        curve = {10 * k: loss for k, loss in enumerate(losses)}
        return drawn({"model": "flow_ae"}, 0)._replace(chain={"train/flow": curve})

    share = falling_share("train/flow", windows=4)
    assert share(run([5.0, 4.0, 3.0, 2.0])) == 1
    assert share(run([5.0, 4.0, 4.5, 2.0])) == pytest.approx(2 / 3)
    assert share(run([5, 6, 4, 5, 6, 6, 2, 2])) == pytest.approx(2 / 3)  # 5.5, 4.5, 6, 2
    assert share(run([1.0, 1.0, 1.0, 1.0])) == 0
    assert share(run([2.0, 1.0])) is None  # fewer points than windows
    either = first_of(falling_share("train/generator", 4), share)
    assert either(run([5.0, 4.0, 3.0, 2.0])) == 1


ROWS: list[dict[str, object]] = [
    {"name": "reverse kl", "best_mean": 0.0, "best_sd": 1.0, "fits": [[0.01, 1.0], [0.0, 1.02]]},
    {"name": "squared hellinger", "best_mean": 0.1, "best_sd": 1.3, "fits": [[0.1, 1.3]] * 2},
    {"name": "GAN (saturating)", "gradients": [0.0, 4e-24]},
    {"name": "WGAN-GP", "gradients": [0.5, 0.75]},
    {"name": "WGAN-GP", "estimate": "distance", "seed": 3, "spearman": 0.9},
    {"name": "GAN", "estimate": "divergence", "seed": 3, "spearman": -0.5},
]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("f-gan-optimum", {"reverse kl": {0: 0.01, 1: 0.02}, "squared hellinger": {0: 0, 1: 0}}),
        ("mode-seeking", {"reverse kl/squared hellinger": {0: -0.3, 1: -0.28}}),
        ("gan-saturates", {"GAN (saturating)": {0: 1e-45, 1: 4e-24}}),
        ("wgan-keeps-gradient", {"WGAN-GP": {0: 0.5, 1: 0.75}}),
        ("loss-tracks-quality", {"WGAN-GP": {3: 0.9}}),
    ],
)
def test_rows_of_tables_decide_claims(name: str, expected: dict[str, dict[int, float]]) -> None:
    (claim,) = claims_of("slides", [name])
    measured = {one.setting: one.values for one in measure(claim, {}, ROWS)}
    assert measured == {setting: pytest.approx(by_seed) for setting, by_seed in expected.items()}
    (row,) = decide_claims([claim], [], "slides")
    assert row.verdict == "not measured"
    assert row.missing.startswith(
        "no rows; this makes them: python sweeps/paper_tables.py --table"
    )
    (row,) = decide_claims([claim], [], "slides", ROWS)
    assert not row.missing


def test_architectures_are_compared_with_the_baseline_of_their_loss() -> None:
    def run(family: str, architecture: str, seed: int, fcd: float) -> StoredRun:
        return drawn({"family": family, "architecture": architecture}, seed, fcd=fcd)

    runs = [
        run("wgan_gp", "DCGAN", 0, 10.0),
        run("wgan_gp", "tanh", 0, 15.0),
        run("wgan_gp", "tanh", 1, 15.0),  # its baseline has failed
        run("gan", "DCGAN", 0, 20.0),
        run("gan", "no BN", 0, 100.0),
    ]
    assert values("slides", "gp-trains-all", runs) == {"WGAN-GP architecture=tanh": {0: 1.5}}
    assert values("slides", "others-fail", runs) == {"GAN architecture=no BN": {0: 5.0}}


def test_a_sweep_of_an_axis_is_compared_along_it() -> None:
    runs = [
        drawn({"gamma": gamma}, 0, recall=recall)
        for gamma, recall in ((0.3, 0.1), (0.5, 0.25), (0.7, 0.5))
    ]
    assert values("slides", "gamma-recall", runs) == {
        "gamma=0.5/gamma=0.3": {0: pytest.approx(0.15)},
        "gamma=0.7/gamma=0.5": {0: 0.25},
    }


def test_the_chain_of_a_bigan_is_compared_with_its_start() -> None:
    run = drawn({"family": "bigan", "latent_dim": 16}, 0)
    run = run._replace(chain={"fcd": {0: 200.0, 5: 250.0, 10: 300.0}})
    assert not values("slides", "bigan-stationary", [run])  # draws have no chain
    run = run._replace(tags={**run.tags, "chain": next(iter(CHAINS))})
    assert values("slides", "bigan-stationary", [run]) == {"BIGAN-16": {0: 1.5}}


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    assert read_table(path) == ROWS
    for text in ("{}", "[1]", "no"):
        path.write_text(text)
        with pytest.raises(ValueError, match="--rows takes a file that paper_tables"):
            read_table(path)
