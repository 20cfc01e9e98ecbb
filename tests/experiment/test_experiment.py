import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from genae_core.config import from_json, to_json
from genae_core.data.arrays import ArraysConfig
from genae_core.data.base import Split, Splits
from genae_core.experiment.experiment import Experiment, check_memory, resolve, warnings_of
from genae_core.metrics.classifier import ClassifierConfig, choose_feature_width
from genae_core.models.aae import AAEConfig
from genae_core.models.ae import AEConfig
from genae_core.models.flow_ae import FlowAEConfig
from genae_core.models.vae import VAEConfig
from genae_core.nets.dcgan import DCGANConfig
from genae_core.nets.mlp import MLPConfig
from genae_core.priors.ex_post import ExPostMixture
from genae_core.priors.mixture import RingPriorConfig
from genae_core.priors.swiss_roll import SwissRollPriorConfig
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.langevin import Langevin
from genae_core.samplers.metropolis import Metropolis
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.testing.tiny import experiment
from genae_core.training.config import TrainingConfig


def _splits(train: int = 120, val: int = 40, test: int = 44) -> Splits:
    return Splits(
        *(
            Split(np.zeros((n, 1, 8, 8), np.uint8), np.zeros(n, np.int64))
            for n in (train, val, test)
        )
    )


def _with(**changes: Any) -> Experiment:
    return dataclasses.replace(experiment(), **changes)


def _chain(**settings: Any) -> ChainConfig:
    return ChainConfig(
        **{"sampler": EncodeDecode(), "record": (0, 1), "sub_batch": 16, **settings}
    )


def test_what_is_left_open_is_filled_in() -> None:
    classifier = ClassifierConfig(channels=(4,))
    open_, given = _chain(), _chain(num_chains=20)
    before = _with(chains=(open_, given), classifier=classifier)
    after = resolve(before, _splits())
    assert [chain.num_chains for chain in after.chains] == [80, 20]
    assert after.classifier.feature_width == choose_feature_width(40) == 8
    assert dataclasses.replace(after, chains=before.chains, classifier=before.classifier) == before
    assert resolve(after, _splits()) == after
    assert from_json(to_json(after)) == after


def _labelled(classes: int = 4) -> Splits:
    return Splits(
        *(Split(np.zeros((n, 1, 8, 8), np.uint8), np.arange(n) % classes) for n in (120, 40, 44))
    )


LABELLED = AAEConfig(latent_dim=2, num_classes=4, prior=RingPriorConfig(components=4))


def test_a_family_with_labels_takes_data_that_has_them() -> None:
    cell = _with(model=LABELLED)
    assert resolve(cell, _labelled()).model == LABELLED
    few = TrainingConfig(epochs=1, batch_size=20, num_labelled=4)
    assert resolve(_with(model=LABELLED, training=few), _labelled()).training == few


@pytest.mark.parametrize(
    ("splits", "num_labelled", "message"),
    [
        (_splits(), None, r"AAE \(labels\) needs a class for each image, and digits has none"),
        (_labelled(5), None, r"must be the 5 classes of digits, got num_classes=4"),
        (_labelled(), 121, "at most the 120 training images.*num_labelled=121"),
        (_labelled(), 3, "a labelled image of each of the 4 classes.*num_labelled=3"),
    ],
)
def test_labels_that_are_missing_are_told_before_training(
    splits: Splits, num_labelled: int | None, message: str
) -> None:
    training = TrainingConfig(epochs=1, batch_size=20, num_labelled=num_labelled)
    with pytest.raises(ValueError, match=message):
        resolve(_with(model=LABELLED, training=training), splits)


def test_a_finished_autoencoder_that_is_not_there_is_told_before_training() -> None:
    lost = FlowAEConfig(autoencoder=AEConfig(latent_dim=2), finished="nowhere")
    with pytest.raises(ValueError, match="no readable checkpoint in .*/nowhere"):
        resolve(_with(model=lost), _splits())


def test_attributes_are_no_classes() -> None:
    images, ones = np.zeros((120, 1, 8, 8), np.uint8), np.ones((120, 3), np.uint8)
    attributes = Splits(*(Split(images[:n], ones[:n]) for n in (120, 40, 44)))
    with pytest.raises(ValueError, match="needs a class for each image.*attributes=3"):
        resolve(_with(model=LABELLED), attributes)


def test_a_given_width_stays() -> None:
    assert resolve(experiment(), _splits()).classifier.feature_width == 6


@pytest.mark.parametrize(
    ("changes", "splits", "message"),
    [
        ({"chains": (_chain(num_chains=82),)}, {}, r"\(80 here\).*num_chains=82"),
        ({"chains": (_chain(num_chains=21),)}, {}, "must be even.*num_chains=21"),
        ({"chains": (_chain(num_chains=2),)}, {}, "at least 4.*num_chains=2"),
        ({}, {"val": 1}, "at least 2 images each.*add images, got val=1, test="),
        (
            {"chains": (_chain(sampler=Reconstruction()),)},
            {"train": 79},
            "padded chains.*images=79",
        ),
        (
            {"chains": (_chain(sampler=Reconstruction(), num_chains=70),)},
            {"train": 79},
            r"\(80\).*sub_batch, got images=79",
        ),
        ({"classifier": ClassifierConfig(feature_width=11)}, {}, "a quarter.*feature_width=11"),
        ({"chains": (_chain(),)}, {"train": 39}, "the floor needs.*images=39"),
        (
            {"training": TrainingConfig(epochs=1, batch_size=121)},
            {},
            "at most the 120 training.*121",
        ),
    ],
)
def test_more_than_the_data_have_is_refused(
    changes: dict[str, Any], splits: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(_with(**changes), _splits(**splits))


def test_as_much_as_the_data_have_is_taken() -> None:
    limits = _with(
        chains=(_chain(num_chains=80, sampler=Reconstruction()), _chain(num_chains=4)),
        classifier=ClassifierConfig(feature_width=10),
        training=TrainingConfig(epochs=1, batch_size=80),
    )
    assert resolve(limits, _splits(train=80)) == limits


def test_the_smaller_half_counts() -> None:
    for val, test in ((40, 44), (44, 40)):
        resolved = resolve(_with(chains=(_chain(),)), _splits(val=val, test=test))
        assert resolved.chains[0].num_chains == 80


def test_max_images_bounds_the_batch() -> None:
    training = TrainingConfig(epochs=1, batch_size=50, max_images=60)
    assert resolve(_with(training=training), _splits()).training == training
    with pytest.raises(ValueError, match="at most the 48 training images, got batch_size=50"):
        resolve(_with(training=training), _splits(train=48, val=24, test=24))


def test_few_images_a_feature_are_warned_of() -> None:
    few = resolve(_with(chains=(_chain(num_chains=80),)), _splits())  # 40 images, 6 features
    (text,) = warnings_of(few)
    assert "40 images on 6 features" in text
    narrow = dataclasses.replace(few, classifier=ClassifierConfig(feature_width=4))
    assert warnings_of(narrow) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chains": ()}, "chains must name"),
        ({"chains": (_chain(), _chain())}, "chains must differ"),
        ({"seed": 1.0}, "seed must"),
        ({"seed": True}, "seed must"),
        (
            {
                "model": VAEConfig(latent_dim=2, net=DCGANConfig()),
                "data": ArraysConfig(root="a.npz", shape=(1, 30, 30)),
            },
            r"28 px or of a multiple of 8 px, got shape=\(1, 30, 30\)",
        ),
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused_at_once(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _with(**changes)


def test_making_one_draws_nothing_and_takes_no_memory() -> None:
    state = torch.get_rng_state()
    # 2 x 10^9 hidden units would take more than 10^12 bytes if they were made.
    wide = dataclasses.replace(experiment().model.net, widths=(2 * 10**9,))  # type: ignore[attr-defined]
    _with(model=VAEConfig(latent_dim=2, net=wide))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_that_the_memory_cannot_hold_is_refused_with_the_estimate() -> None:
    """Linear layers of i inputs and o outputs have i o weights and o biases."""
    net = MLPConfig(widths=(8,), batch_norm=False)
    small = _with(model=VAEConfig(latent_dim=2, net=net))
    encoder, decoder = (64 * 8 + 8) + (8 * 4 + 4), (2 * 8 + 8) + (8 * 64 + 64)
    assert small.count_weights() == encoder + decoder
    check_memory([small], 16 * (encoder + decoder))
    with pytest.raises(ValueError, match=r"latent dimension 2 has 1,156 weights, .* or more"):
        check_memory([small], 16 * (encoder + decoder) - 1)
    large = _with(model=VAEConfig(latent_dim=2 * 10**9, net=net))
    with pytest.raises(ValueError, match=r"needs 7\d\d\.\d GiB or more; a trial can have 8.0 GiB"):
        check_memory([small, large], 8 * 2**30)


def test_networks_that_torch_cannot_size_are_refused() -> None:
    wide = MLPConfig(widths=(2**31 - 1, 2**31 - 1, 2**31 - 1))
    with pytest.raises(ValueError, match="cannot be built"):
        _with(model=VAEConfig(latent_dim=2**31 - 1, net=wide))


def test_a_sampler_that_the_family_cannot_run_is_refused_before_training() -> None:
    metropolis = _chain(sampler=Metropolis(), batch_norm="running")
    resolve(_with(chains=(metropolis,)), _splits())
    pointed = AAEConfig(latent_dim=2, net=MLPConfig(widths=(8,)))
    with pytest.raises(ValueError, match="Metropolis needs a density of the encoder"):
        resolve(_with(chains=(metropolis,), model=pointed), _splits())
    rolled = dataclasses.replace(pointed, prior=SwissRollPriorConfig())
    moves = _chain(sampler=Langevin())
    with pytest.raises(ValueError, match="Langevin needs a density of z, and SwissRoll has none"):
        resolve(_with(chains=(moves,), model=rolled), _splits())
    # A law that is fitted to the codes has one; the encoder still has none.
    fitted_prior = ExPostMixture(components=2)
    with pytest.raises(ValueError, match="Metropolis needs a density of the encoder"):
        resolve(
            _with(
                chains=(dataclasses.replace(metropolis, fitted_prior=fitted_prior),), model=pointed
            ),
            _splits(),
        )
    fitted = dataclasses.replace(moves, fitted_prior=ExPostMixture(components=2))
    resolve(_with(chains=(fitted,), model=rolled), _splits())
