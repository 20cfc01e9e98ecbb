"""The table of samplers, from stored values, and the experiments behind it."""

import json

import pytest

from genae_core.recipes.options import StudyOptions
from genae_core.recipes.sampler_findings import print_sampler_table
from genae_core.recipes.sampler_table import (
    SAMPLER_MODELS,
    sampler_experiment,
    sampler_rows,
)
from genae_core.sweep.runs import chain_label
from genae_core.tracking.mlflow_store import StoredRun

PUBLISHED, MIXTURE = "encode decode, batch BN", "encode decode, selected mixture, batch BN"


def _run(label: str, seed: int, fcd: dict[int, float], recall: float = 0.8) -> StoredRun:
    """A finished run whose test and validation FCDs are equal."""
    tags = {"cell": json.dumps({"model": "vae-10"}), "seed": str(seed), "chain": label}
    best = min(fcd, key=lambda step: fcd[step])
    scalars = {"calls_start": 1.0, "calls_step": 2.0}
    scalars |= {"fcd_best": fcd[best], "fcd_best_step": float(best)}
    constant = {"precision": 0.9 if label == MIXTURE else 0.7, "nearest_training": 0.95}
    constant["recall"] = recall
    curves = {name: dict.fromkeys(fcd, value) for name, value in constant.items()}
    chain = {"fcd": fcd, "fcd_val": fcd, **curves}
    return StoredRun(f"{label}{seed}", "FINISHED", tags, {}, scalars, chain)


def _runs(recall: float) -> list[StoredRun]:
    runs = [_run(PUBLISHED, seed, {0: 200.0, 1: 150.0, 5: 100.0 + seed}) for seed in (0, 1, 2)]
    return runs + [_run(MIXTURE, seed, {0: 30.0 + seed, 1: 33.0}, recall) for seed in (0, 1, 2)]


def test_rows_have_calls_ratios_and_the_front() -> None:
    rows = {(row.sampler, row.step): row for row in sampler_rows(_runs(0.8))}
    assert {key[1] for key in rows if key[0] == PUBLISHED} == {0, 1, 5}
    mixture = rows[MIXTURE, 0]
    assert (mixture.model, mixture.calls, mixture.fcd, mixture.seeds) == ("VAE-10", 1, 31, 3)
    assert mixture.ratio == pytest.approx(31 / 101)
    # t(0.975; 2) = 4.303 times the standard error 1 / sqrt(3)
    assert mixture.low == pytest.approx(31 - 4.303 / 3**0.5, abs=1e-3)
    assert rows[PUBLISHED, 5].calls == 11 and rows[PUBLISHED, 5].ratio == 1
    assert [key for key, row in rows.items() if row.front] == [(MIXTURE, 0)]
    assert sampler_rows([]) == []
    alone = [run for run in _runs(0.8) if run.tags["chain"] == MIXTURE]
    assert sampler_rows(alone) == []  # nothing to compare with


@pytest.mark.parametrize(("recall", "verdict"), [(0.81, "is met"), (0.7, "is not met")])
def test_the_words_weigh_precision_and_recall(
    recall: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_sampler_table(sampler_rows(_runs(recall)), [])
    assert "VAE-10" in capsys.readouterr().out
    print_sampler_table([], _runs(recall))
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("VAE"))
    assert "the published chain has 101.0 after 11 calls" in said
    assert "encode decode, selected mixture after 0 steps and 1 calls 31.0, 0.31 of it" in said
    assert "precision +0.200 (+0.200 to +0.200)" in said and said.endswith(f"{verdict}.")


@pytest.mark.parametrize(("recall", "verdict"), [(0.79, "is met"), (0.70, "is not met")])
def test_one_seed_has_the_interval_of_its_samples(
    recall: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.96 sqrt(2) 0.01 = 0.028."""
    runs = [run for run in _runs(recall) if run.tags["seed"] == "0"]
    for run in runs:
        for name in ("precision_se", "recall_se"):
            run.chain[name] = dict.fromkeys(run.chain["fcd"], 0.01)
    print_sampler_table(sampler_rows(runs), runs)
    said = next(line for line in capsys.readouterr().out.splitlines() if "published chain" in line)
    change = recall - 0.8
    assert f"recall {change:+.3f} ({change - 0.0277:+.3f} to {change + 0.0277:+.3f})" in said
    assert said.endswith(f"{verdict}.")


def test_every_model_runs_the_samplers_that_apply_to_it() -> None:
    study = StudyOptions(dataset="digits", seeds=(0,))
    labels = {
        model: [chain_label(chain) for chain in sampler_experiment(study, model).chains]
        for model in SAMPLER_MODELS
    }
    assert len(labels["vae-10"]) == len(labels["vae-200"]) == 5
    assert len(labels["dvae-10"]) == len(labels["daae-200"]) == 8
    assert not any(label.startswith("annealed") for label in labels["vae-10"])
    for own in labels.values():
        assert own[0] == PUBLISHED and MIXTURE in own
