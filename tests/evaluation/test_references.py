"""The real images that samples are compared with."""

import dataclasses

import numpy as np
import pytest

from genae_core.data.base import Split, fingerprint
from genae_core.evaluation import references as module
from genae_core.evaluation.references import ReferenceData, fit_gaussian, fit_references
from genae_core.metrics.classifier import Classifier
from genae_core.metrics.fcd import Gaussian, frechet_distance
from genae_core.testing import tiny


def test_the_same_images_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other images, another classifier, number or threshold need another fit."""
    counts: list[int] = []

    def counting(data: ReferenceData, split: Split, count: int) -> Gaussian:
        counts.append(count)
        return fit_gaussian(data, split, count)

    monkeypatch.setattr(module, "fit_gaussian", counting)
    monkeypatch.setattr(module, "_CACHE", {})
    unnamed = tiny.splits()
    splits = unnamed._replace(sha256=fingerprint(unnamed))
    classifier = tiny.classifier(unnamed)
    data = ReferenceData(splits, classifier)
    first = fit_references(data, 20)
    # Each trial has copies of its own.
    copies = ReferenceData(
        unnamed._replace(sha256=splits.sha256), tiny.classifier(unnamed), binarize=False
    )
    assert fit_references(copies, 20) is first and counts == [20] * 3
    assert first.floor == frechet_distance(fit_gaussian(data, splits.train, 20), first.test)

    inverted = unnamed._replace(test=Split(255 - unnamed.test.images, unnamed.test.labels))
    inverted = inverted._replace(sha256=fingerprint(inverted))
    other = Classifier(classifier.config, (1, 8, 8), classifier.top.out_features).eval()
    others = [
        fit_references(dataclasses.replace(data, splits=inverted), 20),
        fit_references(dataclasses.replace(data, classifier=other), 20),
        fit_references(data, 21),
        fit_references(dataclasses.replace(data, binarize=True), 20),
    ]
    lower = tiny.classifier(unnamed)
    lower.precision = "bf16"
    others.append(fit_references(dataclasses.replace(data, classifier=lower), 20))
    # Without a fingerprint the data cannot be recognised.
    again = fit_references(dataclasses.replace(data, splits=unnamed), 20)
    assert len(counts) == 3 * 7
    for references in others:
        assert not np.allclose(references.test.mean, first.test.mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(again.test.mean, first.test.mean)
