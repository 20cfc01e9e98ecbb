"""The real images that samples are compared with."""

import numpy as np
import pytest

from genae_core.data.base import Split, fingerprint
from genae_core.evaluation import references as module
from genae_core.evaluation.references import fitted, load_references
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import frechet_distance
from genae_core.testing import tiny


def test_the_same_images_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others, another classifier, number or threshold are looked at again."""
    looked: list[int] = []

    def counting(
        split: Split, classifier: Classifier, count: int, binarize: bool, device: object
    ) -> module.Gaussian:
        looked.append(count)
        return fitted(split, classifier, count, binarize, "cpu")

    monkeypatch.setattr(module, "fitted", counting)
    monkeypatch.setattr(module, "_REMEMBERED", {})
    data = tiny.splits()
    splits = data._replace(sha256=fingerprint(data))
    classifier = tiny.classifier(data)
    first = load_references(splits, classifier, 20, False)
    # A trial has its own copy of both.
    again = load_references(data._replace(sha256=splits.sha256), tiny.classifier(data), 20, False)
    assert again is first and looked == [20] * 3
    assert first.floor == frechet_distance(
        fitted(data.train, classifier, 20, False, "cpu"), first.test
    )

    turned = data._replace(test=Split(255 - data.test.images, data.test.labels))
    other = Classifier(classifier.config, (1, 8, 8), classifier.top.out_features).eval()
    others = [
        load_references(turned._replace(sha256=fingerprint(turned)), classifier, 20, False),
        load_references(splits, other, 20, False),
        load_references(splits, classifier, 21, False),
        load_references(splits, classifier, 20, True),
        load_references(
            data, classifier, 20, False
        ),  # without a fingerprint nothing is known of it
    ]
    assert len(looked) == 3 * 6
    for found in others[:-1]:
        assert not np.allclose(found.test.mean, first.test.mean)
    np.testing.assert_array_equal(others[-1].test.mean, first.test.mean)
