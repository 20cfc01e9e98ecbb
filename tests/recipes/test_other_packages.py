"""Models of other packages, trained and sampled on a handful of digits."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from genae_core.evaluation.chains import ChainResult, evaluate
from genae_core.evaluation.references import ReferenceData
from genae_core.recipes.other_packages import MODELS, TrainingOptions
from genae_core.recipes.other_results import table_rows, verdict
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.testing import tiny

pytestmark = pytest.mark.slow

OPTIONS = TrainingOptions(epochs=1, images=40)
CHAIN = ChainConfig(
    sampler=EncodeDecode(), record=(0, 2), num_chains=80, sub_batch=20, batch_norm="running"
)


@pytest.mark.parametrize("name", MODELS)
def test_each_is_trained_by_its_own_code_and_evaluated(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny.splits()
    model = MODELS[name](OPTIONS, data, (1, 8, 8))
    result = evaluate(model, CHAIN, ReferenceData(data, tiny.classifier(data), binarize=True))
    ((model_name, chain, *values, words),) = table_rows(name, [result])
    assert (model_name, chain) == (name, "encode decode, running BN")
    assert values == [
        f"{value:.1f} ± {error:.1f}"
        for value, error in zip(result.fcd, result.curves["fcd_se"], strict=True)
    ]
    assert words.startswith(("improved, step", "not improved"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("fcd", "error", "word"),
    [
        ([100.0, 90.0], 1.0, "improved, step 2"),
        ([100.0, 99.0], 1.0, "not improved"),
        ([100.0, 110.0], 1.0, "not improved"),
    ],
)
def test_a_gain_counts_beyond_its_errors(fcd: list[float], error: float, word: str) -> None:
    blank: Any = np.zeros((2, 2, 3), np.uint8)
    chain = ChainResult(CHAIN, fcd, fcd, 1.0, 40, [], blank, blank, {"fcd_se": [error, error]})
    assert verdict(chain) == word


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="epochs must be a whole number >= 1"):
        dataclasses.replace(OPTIONS, epochs=0)
    with pytest.raises(ValueError, match="images"):
        dataclasses.replace(OPTIONS, images=0)
