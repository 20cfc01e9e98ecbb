"""What a search reads of the sweep that it compares itself with."""

from types import SimpleNamespace

import pytest

from genae_core.recipes import search_results
from genae_core.recipes.options import StudyOptions
from genae_core.recipes.search_results import classifier_of
from genae_core.tracking.mlflow_store import StoredRun


@pytest.mark.parametrize(
    ("params", "kind", "other"),
    [({}, "train", "shipped"), ({"classifier.weights": "ab" * 32}, "shipped", "train")],
)
def test_a_search_measures_by_the_classifier_of_the_sweep_that_it_learns_from(
    params: dict[str, str], kind: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps of earlier versions have a trained one, and no param about it."""
    runs = [StoredRun("id", "FINISHED", {}, params, {}, {})]
    store = SimpleNamespace(read_runs=lambda name: runs)
    monkeypatch.setattr(search_results, "study_store", lambda uri: store)
    assert classifier_of(StudyOptions(), "rivals") == kind
    assert classifier_of(StudyOptions(classifier=kind), "rivals") == kind  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"rivals was measured with --classifier {kind}, and the"):
        classifier_of(StudyOptions(classifier=other), "rivals")  # type: ignore[arg-type]
