import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genae_core.data.base import Splits
from genae_core.distributions.rng import Draw
from genae_core.evaluation import chains, step_statistics
from genae_core.evaluation import references as genae_references
from genae_core.evaluation.chains import ChainResult, evaluate, validation_fcd
from genae_core.evaluation.references import ReferenceData, fit_references
from genae_core.evaluation.step_statistics import StepStatistics
from genae_core.experiment.experiment import Experiment, resolve
from genae_core.experiment.trial import TrialResult, run_trial
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import (
    Gaussian,
    Jackknife,
    floor_distance,
    frechet_distance,
    frechet_jackknife,
)
from genae_core.models.wrapped import WrappedAutoencoder, WrappedDecoder, wrap
from genae_core.models.wrapped_checkpoint import wrapped_config
from genae_core.nets.base import Shape
from genae_core.priors.ex_post import ExPostMixture
from genae_core.samplers.ancestral import Ancestral
from genae_core.samplers.base import Chain
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.loop import ChainRecord, run_chain
from genae_core.testing import tiny
from genae_core.testing.toys import digest
from genae_core.training.batches import to_pixels
from genae_core.training.checkpoint import load_model, save_model
from genae_core.training.session import Progress

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return tiny.splits()


@pytest.fixture(scope="module")
def classifier(splits: Splits) -> Classifier:
    return tiny.classifier(splits)


@pytest.fixture(scope="module")
def experiment(splits: Splits) -> Experiment:
    return resolve(tiny.experiment(), splits)


@pytest.fixture(scope="module")
def result(experiment: Experiment, splits: Splits, classifier: Classifier) -> TrialResult:
    return run_trial(experiment, splits, classifier)


def test_the_same_seed_gives_the_same_trial_bit_for_bit(result: TrialResult) -> None:
    assert tiny.fingerprint(tiny.run()) == tiny.fingerprint(result)
    assert tiny.fingerprint(tiny.run(seed=1)) != tiny.fingerprint(result)


@pytest.mark.slow
def test_another_process_gives_the_same_trial_bit_for_bit(result: TrialResult) -> None:
    threads = str(torch.get_num_threads())
    paths = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "genae_core.testing.tiny"],
        check=True,
        text=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "1"},
    )
    assert done.stdout.strip() == tiny.fingerprint(result)


def test_what_a_trial_gives(experiment: Experiment, result: TrialResult) -> None:
    assert not any(module.training for module in result.model.modules())
    assert {"reconstruction", "kl"} == result.training.history[0].terms.keys()
    assert [chain.config for chain in result.chains] == list(experiment.chains)
    for chain in result.chains:
        assert len(chain.fcd_val) == len(chain.fcd) == len(chain.grids) == 3
        assert chain.num_images == tiny.HALF and chain.floor > 0
        assert np.isfinite([*chain.fcd_val, *chain.fcd]).all()
        tile = 48 + 2
        assert all(picture.shape == (2 + 8 * tile, 2 + 8 * tile, 3) for picture in chain.grids)
        assert chain.strip.shape == (18 + 2 + 10 * tile, 2 + 3 * tile, 3)


def test_the_first_half_of_the_chains_meets_val_and_the_second_meets_test(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    """Recomputed from all features at once, numpy's covariance and the eigenvalues of the
    product itself."""

    def features(images: Any) -> Any:
        with torch.no_grad():
            return classifier.features(images).double().numpy()

    def distance(one: Any, other: Any) -> float:
        p, q = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
        shift = ((one.mean(0) - other.mean(0)) ** 2).sum()
        roots = np.sqrt(np.linalg.eigvals(p @ q).real.clip(min=0))
        return float(shift + np.trace(p + q) - 2 * roots.sum())

    val, test = (
        features(to_pixels(split.images, False, torch.device("cpu")))
        for split in (splits.val, splits.test)
    )
    chain, measured = experiment.chains[0], result.chains[0]
    samples: dict[int, list[Any]] = {step: [] for step in chain.record}
    for record in run_chain(result.model, chain, 2 * tiny.HALF):
        samples[record.step].append(features(record.chain.mean))
    for position, step in enumerate(chain.record):
        drawn = np.concatenate(samples[step])
        # Eigenvalues of a product that is not symmetric keep about half of float64's digits, and
        # features of another batch size may differ by float32 rounding.
        assert measured.fcd_val[position] == pytest.approx(distance(drawn[:40], val), rel=1e-4)
        assert measured.fcd[position] == pytest.approx(distance(drawn[40:], test), rel=1e-4)


def test_both_sides_of_every_distance_have_equal_counts(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    result: TrialResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []

    def spy(p: Gaussian, q: Gaussian) -> float:
        counts.append((p.count, q.count))
        return floor_distance(p, q)

    def spy_blocks(blocks: list[Gaussian], real: Gaussian) -> Jackknife:
        counts.append((sum(block.count for block in blocks), real.count))
        return frechet_jackknife(blocks, real)

    monkeypatch.setattr(genae_references, "floor_distance", spy)
    monkeypatch.setattr(chains, "frechet_jackknife", spy_blocks)
    for num_chains in (2 * tiny.HALF, 20):
        counts.clear()
        chain = dataclasses.replace(experiment.chains[0], num_chains=num_chains)
        evaluate(result.model, chain, ReferenceData(splits, classifier))
        assert counts == [(num_chains // 2, num_chains // 2)] * 7  # 3 steps twice, and the floor


def test_the_step_is_chosen_on_val_alone(experiment: Experiment) -> None:
    picture = np.zeros((1, 1, 3), np.uint8)
    result = ChainResult(
        config=experiment.chains[0],
        fcd_val=[3.0, 1.0, 2.0],
        fcd=[0.5, 5.0, 0.25],
        floor=2.0,
        num_images=7,
        grids=[picture] * 3,
        sprite=picture,
        strip=picture,
    )
    assert result.summary() == {
        "fcd_step0": 0.5,
        "fcd_best": 5.0,
        "fcd_val_best": 1.0,
        "fcd_best_step": 1.0,
        "fcd_recommended_step": 1.0,
        "fcd_recommended": 5.0,
        "fcd_best_ratio": 2.5,
        "fcd_floor": 2.0,
        "fcd_images": 7.0,
    }
    # The smallest step within one standard error of the best on validation.
    near = result._replace(curves={"fcd_val_se": [0.1, 2.0, 0.1]}).summary()
    assert (near["fcd_recommended_step"], near["fcd_recommended"]) == (0.0, 0.5)
    assert near["fcd_best_step"] == 1.0
    # A handful of images on one dead feature: every distance is 0, and there is no ratio.
    assert "fcd_best_ratio" not in result._replace(floor=0.0).summary()


def test_the_test_images_change_nothing_on_the_side_of_val(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    other = splits._replace(test=splits.test._replace(images=255 - splits.test.images))
    for chain, before in zip(experiment.chains, result.chains, strict=True):
        after = evaluate(result.model, chain, ReferenceData(other, classifier))
        assert after.fcd_val == before.fcd_val
        assert all(a != b for a, b in zip(after.fcd, before.fcd, strict=True))
        assert after.floor != before.floor
        for name in ("fcd_val_best", "fcd_best_step"):
            assert after.summary()[name] == before.summary()[name]


def test_watching_the_chain_changes_nothing_of_the_trial(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    seen = []

    def on_epoch(model: nn.Module, progress: Progress) -> None:
        now = evaluate(model, experiment.chains[0], ReferenceData(splits, classifier))
        seen.append((progress.epoch, min(now.fcd_val)))

    watched = run_trial(experiment, splits, classifier, on_epoch=on_epoch)
    assert tiny.fingerprint(watched) == tiny.fingerprint(result)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert seen[-1][1] == min(result.chains[0].fcd_val)


def test_evaluating_leaves_the_model_as_it_was(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    before, state = digest(result.model), torch.get_rng_state()
    again = evaluate(result.model, experiment.chains[0], ReferenceData(splits, classifier))
    assert digest(result.model) == before and torch.equal(torch.get_rng_state(), state)
    assert again.fcd == result.chains[0].fcd


def test_only_the_first_images_train_where_the_config_says_so(
    experiment: Experiment, splits: Splits, classifier: Classifier
) -> None:
    short = dataclasses.replace(
        experiment,
        chains=experiment.chains[:1],
        training=(dataclasses.replace(experiment.training, max_images=60)),
    )
    images = splits.train.images.copy()
    images[60:] = 255 - images[60:]
    changed = splits._replace(train=splits.train._replace(images=images))
    one, other = (run_trial(short, data, classifier) for data in (splits, changed))
    assert digest(one.model) == digest(other.model)
    assert one.training.history[-1].step == 2 * 3  # epochs of 60 / 20 steps


def test_binarised_data_are_compared_with_binarised_samples(splits: Splits) -> None:
    """The classifier sees 0 and 1 alone, from the data and from the chains."""
    seen = []

    class Watching(Classifier):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return super().features(x)

    trained = tiny.classifier(splits, binarize=True)
    watching = Watching(trained.config, (1, 8, 8), trained.top.out_features).eval()
    watching.load_state_dict(trained.state_dict())
    run_trial(resolve(tiny.experiment(binarize=True), splits), splits, watching)
    assert len(seen) > 3
    assert set(torch.cat(seen).unique().tolist()) == {0.0, 1.0}


def test_a_rung_sees_what_the_end_sees() -> None:
    """With as many samples as there are validation images, the FCD at a rung is the lowest
    validation FCD of the evaluation; with fewer it is another."""
    data = tiny.splits()
    experiment = resolve(tiny.experiment(), data)
    classifier = tiny.classifier(data)
    result = run_trial(experiment, data, classifier)
    for chain in result.chains:
        args = (result.model, chain.config, ReferenceData(data, classifier))
        assert validation_fcd(*args) == pytest.approx(min(chain.fcd_val), rel=1e-9)
        assert validation_fcd(*args, samples=20) != pytest.approx(min(chain.fcd_val), rel=1e-3)


def test_a_law_of_the_codes_is_what_chains_start_from(
    experiment: Experiment, splits: Splits, classifier: Classifier, result: TrialResult
) -> None:
    """Of all training images: its FCD at step 0 is that of draws from the same fit, made here."""
    fitted_prior = ExPostMixture(components=2)
    chain = dataclasses.replace(experiment.chains[0], fitted_prior=fitted_prior)
    fitted_result = evaluate(result.model, chain, ReferenceData(splits, classifier))
    x = to_pixels(splits.train.images, False, torch.device("cpu"))
    with torch.no_grad():
        codes = result.model.encode(x).mean
    fitted = fitted_prior.fit(codes, Draw(chain.seed, "law"))
    plain = dataclasses.replace(chain, fitted_prior=None)
    starts = [
        fitted.sample(Draw(chain.seed, "chain", index), (chain.sub_batch,))
        for index in range(chain.round_up(2 * tiny.HALF) // chain.sub_batch)
    ]
    z = torch.cat(starts)[: 2 * tiny.HALF]
    halves = (Gaussian(6), Gaussian(6))
    for record in run_chain(result.model, plain, 2 * tiny.HALF, start=z):
        if record.step == 0:
            with torch.no_grad():
                seen = classifier.features(record.chain.mean)
            cut = max(0, min(len(seen), tiny.HALF - record.first))
            halves[0].update(seen[:cut])
            halves[1].update(seen[cut:])
    real = fit_references(ReferenceData(splits, classifier), tiny.HALF)
    assert fitted_result.fcd_val[0] == pytest.approx(
        frechet_distance(halves[0], real.val), rel=1e-4
    )
    assert fitted_result.fcd[0] != result.chains[0].fcd[0]


def test_a_chain_that_runs_away_fails_alone(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    result: TrialResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = experiment.chains

    def some(model: nn.Module, chain: ChainConfig, *arguments: Any) -> ChainResult:
        if chain == first:
            raise FloatingPointError("3 of 16 chains are not finite by step 1")
        return evaluate(model, chain, *arguments)

    monkeypatch.setattr("genae_core.experiment.trial.evaluate", some)
    rest = run_trial(experiment, splits, classifier)
    assert [chain.config for chain in rest.chains] == [second]
    assert {chain: str(why) for chain, why in rest.failed.items()} == {
        first: "3 of 16 chains are not finite by step 1"
    }
    assert digest(rest.model) == digest(result.model)


def test_what_is_kept_of_a_step_is_no_more_than_is_compared(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view, even an empty one, would keep the images of its whole sub-batch."""
    monkeypatch.setattr(step_statistics, "COMPARED", 5)
    monkeypatch.setattr(step_statistics, "SHOWN", 3)
    chain = dataclasses.replace(experiment.chains[0], sub_batch=8)
    statistics = StepStatistics(2, 40, chain)
    for first in range(0, 80, 8):
        z = torch.randn(8, 2)
        record = ChainRecord(0, first, Chain(z, torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4)))
        statistics.add(record, torch.randn(8, 2))
    for tensors, rows in (
        (statistics.grid_images, 3),
        (statistics.images[0], 5),
        (statistics.images[1], 5),
    ):
        assert sum(t.untyped_storage().nbytes() for t in tensors) == rows * 16 * 4
    for tensors in (statistics.features, statistics.z):
        assert sum(t.untyped_storage().nbytes() for t in tensors) == 5 * 2 * 4


@pytest.mark.parametrize(("batch_norm", "sizes"), [("batch", [16, 16, 8]), ("running", [4] * 10)])
def test_chains_that_share_a_batch_are_in_one_block(
    experiment: Experiment, batch_norm: Any, sizes: list[int]
) -> None:
    chain = dataclasses.replace(experiment.chains[0], sub_batch=16, batch_norm=batch_norm)
    statistics = StepStatistics(2, 40, chain)
    for first in range(0, 80, 16):
        images = torch.randn(16, 1, 4, 4)
        statistics.add(
            ChainRecord(0, first, Chain(torch.randn(16, 2), images, images)), torch.randn(16, 2)
        )
    for blocks in statistics.halves:
        assert sorted((b.count for b in blocks if b.count), reverse=True) == sizes


def load_vae(path: Path, shape: Shape) -> WrappedAutoencoder:
    """One of genae's checkpoints, as if it were of another package."""
    model: Any = load_model(path)
    prior, noise = model.latent_prior(), model.config.noise
    return wrap(model, model.encode, model.decode, model.latent_dim, shape, noise, prior)


def load_decoder(path: Path, shape: Shape) -> WrappedDecoder:
    model = load_model(path)
    return wrap(model, None, model.decode, model.latent_dim, shape, prior=model.latent_prior())


def test_a_model_that_is_not_trained_has_the_results_of_the_run_that_trained_it(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    result: TrialResult,
    tmp_path: Path,
) -> None:
    shape: Any = experiment.data.shape
    save_model(tmp_path / "vae", result.model, experiment.model, shape, result.draw)
    model = wrapped_config(tmp_path / "vae", load_vae, shape)
    assert model.noise == 0.2
    fitted = dataclasses.replace(experiment.chains[0], fitted_prior=ExPostMixture(components=2))
    chains = (*experiment.chains, fitted)
    theirs = dataclasses.replace(experiment, model=model, training=None, chains=chains)
    again = run_trial(resolve(theirs, splits), splits, classifier)
    assert again.training == ([], 0.0) and not again.failed
    data = ReferenceData(splits, classifier)
    wanted = [*result.chains, evaluate(result.model, fitted, data)]
    for one, other in zip(again.chains, wanted, strict=True):
        assert (one.fcd_val, one.fcd, one.floor) == (other.fcd_val, other.fcd, other.floor)
        assert repr((one.curves, one.scalars, one.mixing, one.latent)) == repr(
            (other.curves, other.scalars, other.mixing, other.latent)
        )
        assert all(np.array_equal(*pair) for pair in zip(one.grids, other.grids, strict=True))


def test_a_decoder_alone_is_measured_as_the_decoder_of_its_autoencoder(
    experiment: Experiment,
    splits: Splits,
    classifier: Classifier,
    result: TrialResult,
    tmp_path: Path,
) -> None:
    shape: Any = experiment.data.shape
    save_model(tmp_path / "vae", result.model, experiment.model, shape, result.draw)
    model = wrapped_config(tmp_path / "vae", load_decoder, shape)
    chain = dataclasses.replace(experiment.chains[0], sampler=Ancestral(), record=(0, 1, 2, 3, 4))
    alone = dataclasses.replace(experiment, model=model, training=None, chains=(chain,))
    (one,) = run_trial(resolve(alone, splits), splits, classifier).chains
    whole = evaluate(result.model, chain, ReferenceData(splits, classifier))
    assert (one.fcd_val, one.fcd, one.floor) == (whole.fcd_val, whole.fcd, whole.floor)
    of_codes = {"z_posterior_mmd", "z_posterior_w2"}
    of_codes |= {f"{name}_se" for name in of_codes}
    assert whole.curves.keys() - one.curves.keys() == of_codes
    of_encoder = {"reconstruction_error", "reconstruction_error_se", "posterior_sd", "codes_sd"}
    assert whole.scalars.keys() - one.scalars.keys() == of_encoder
    drawn = {"z_prior_mmd", "z_prior_mmd_se", "z_prior_w2", "z_prior_w2_se"}  # of another stream
    for name in one.curves.keys() - drawn:
        assert repr(one.curves[name]) == repr(whole.curves[name]), name
    assert one.latent == {} and "rhat" in one.curves
    with pytest.raises(ValueError, match="^the model has no encoder$"):
        resolve(dataclasses.replace(alone, chains=experiment.chains), splits)
