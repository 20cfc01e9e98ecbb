"""The precision of the features that the FCD compares."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from genae_core.distributions.rng import Draw
from genae_core.metrics.classifier import Classifier, ClassifierConfig
from genae_core.metrics.classifier_features import features_of


@pytest.fixture
def classifier() -> Classifier:
    with Draw(0).as_global():
        config = ClassifierConfig(channels=(4, 8), kernel_size=5, feature_width=16)
        return Classifier(config, (1, 14, 14), 10).eval()


def images(count: int) -> Tensor:
    return (Draw(1).uniform((count, 1, 14, 14)) > 0.5).float()


def by_hand(classifier: Classifier, x: Tensor) -> Tensor:
    """The factors of each product are rounded to bfloat16, sums are float32, and each layer's
    result is rounded."""

    def rounded(value: Tensor) -> Tensor:
        return value.detach().bfloat16().float()

    for layer in (classifier.convolutions[0], classifier.convolutions[3]):
        x = F.conv2d(x, rounded(layer.weight), rounded(layer.bias), padding=2)
        x = F.relu(F.max_pool2d(rounded(x), 2))
    hidden = F.linear(x.flatten(1), rounded(classifier.hidden.weight))
    return rounded(F.relu(hidden + rounded(classifier.hidden.bias)))


def test_features_in_bf16_are_its_arithmetic(classifier: Classifier) -> None:
    x = images(60)
    plain = features_of(classifier, x)
    classifier.precision = "bf16"
    lower = features_of(classifier, x)
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, by_hand(classifier, x), rtol=2**-7, atol=2e-3)
    torch.testing.assert_close(lower, plain, rtol=0.02, atol=0.01)
    assert not torch.equal(lower, plain)
    # Parts of a batch have the same features, and the weights themselves do not change.
    assert torch.equal(features_of(classifier, x[7:9]), lower[7:9])
    classifier.precision = "fp32"
    assert torch.equal(features_of(classifier, x), plain)


def test_a_cpu_without_bf16_uses_the_rounded_weights(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lacking:
        def _is_mkldnn_bf16_supported(self) -> bool:
            return False

    monkeypatch.setattr(torch.ops, "mkldnn", Lacking())
    x = images(20)
    rounded: Any = copy.deepcopy(classifier).bfloat16().float()
    classifier.precision = "bf16"
    assert torch.equal(features_of(classifier, x), rounded.features(x))


def test_a_classifier_that_has_computed_in_bf16_is_sent_to_workers(classifier: Classifier) -> None:
    classifier.precision = "bf16"
    features = features_of(classifier, images(3))
    copied = pickle.loads(pickle.dumps(classifier))
    assert torch.equal(features_of(copied, images(3)), features)
