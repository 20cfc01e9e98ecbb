"""The card of an exported model, about hand-made runs: its numbers, and what it does not claim."""

from typing import Any

import pytest
import yaml

from genae_core import config
from genae_core.models.vae import VAEConfig
from genae_core.report.card.subject import ExportedModel
from genae_core.report.card.text import format_card
from genae_core.samplers.config import ChainConfig
from genae_core.samplers.encode_decode import EncodeDecode
from genae_core.samplers.reconstruction import Reconstruction
from genae_core.testing import tiny
from genae_core.tracking.mlflow_store import StoredRun

STEPS = (0, 1, 5)
BLIND = "blind: no feature varies"


def run(
    seed: int, fcd: list[float], chosen: int, ruler: str = "sound: it measures", **tags: str
) -> StoredRun:
    """A run with a curve on test images, and the step that was chosen on validation images."""
    scalars = {
        "fcd_step0": fcd[0],
        "fcd_best": fcd[STEPS.index(chosen)],
        "fcd_best_step": float(chosen),
        "fcd_floor": 2.0,
        "fcd_images": 100.0,
    }
    own = {
        "dataset": "digits",
        "family": "VAE",
        "cell": '{"latent_dim": 2}',
        "chain": "encode decode, batch BN",
        "seed": str(seed),
        "latent_dim": "2",
        "sweep": "s",
        "ruler": ruler,
    }
    chain = {"fcd": dict(zip(STEPS, fcd, strict=True)), "fcd_se": {0: 1.25, 1: 0.5}}
    return StoredRun(f"id{seed}", "FINISHED", {**own, **tags}, {}, scalars, chain)


def export_of(*runs: StoredRun, steps: int | None = 1, **fields: Any) -> ExportedModel:
    """An export of the first of these runs, which differ by their seed."""
    values = config.to_dict(tiny.experiment())
    known: dict[str, Any] = {
        "run": runs[0],
        "seeds": list(runs),
        "chain": ChainConfig(sampler=EncodeDecode()),
        "model": config.to_dict(VAEConfig(latent_dim=2)),
        "experiment": values,
        "own_code": {},
        "shape": (1, 8, 8),
        "weights": 1234,
        "files": [],
        "steps": steps,
        "picture": None,
    }
    return ExportedModel(**(known | fields))


def metadata_of(card: str) -> dict[str, Any]:
    """The YAML at the top of a card."""
    _, text, _ = card.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def rows_of(card: str, head: str) -> list[list[str]]:
    """The rows of the table whose head begins with this cell."""
    table = card.split(f"| {head} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


HELPED = [run(0, [100.0, 50.0, 90.0], 1), run(1, [102, 51, 93], 1), run(2, [98, 52, 91], 1)]


def test_the_curve_has_the_figures_of_the_run_and_of_its_seeds() -> None:
    card = format_card(export_of(*HELPED))
    assert rows_of(card, "step") == [
        ["0", "100 ± 1.2", "100.0 ± 2.0", "50.00"],
        ["1", "50 ± 0.5", "51.0 ± 1.0", "25.00"],
        ["5", "90", "91.3 ± 1.5", "45.00"],
        ["real images", "2", "", ""],
    ]
    assert "Number of seeds: 3." in card and "Ruler: sound: it measures." in card
    (index,) = metadata_of(card)["model-index"]
    (result,) = index["results"]
    assert [metric["value"] for metric in result["metrics"]] == [100.0, 50.0, 90.0]
    assert result["dataset"] == {"type": "digits", "name": "digits", "split": "test"}


def test_hugging_face_reads_the_metadata() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(format_card(export_of(*HELPED)))
    assert card.data.library_name == "genae" and card.data.license is None
    assert card.data.tags == ["genae", "vae"]
    assert card.data.pipeline_tag == "unconditional-image-generation"
    metrics = [(each.metric_name, each.metric_value) for each in card.data.eval_results]
    assert metrics == list(zip([f"FCD at step {k}" for k in STEPS], (100, 50, 90), strict=True))
    assert card.text.lstrip().startswith("# VAE with 2 latent dimensions, trained on digits")


@pytest.mark.parametrize(
    ("runs", "steps", "words", "without"),
    [
        (HELPED, 1, "lowest at step 1. **Step 1** is recommended", "do not show"),
        ([run(0, [60, 50, 9], 1)], 1, "do not show that this step is better", "distinguishable"),
        (
            [run(0, [60, 50, 9], 1)],
            0,
            "no step is distinguishable from step 0. **Step 0**",
            "show",
        ),
        (
            [run(0, [50.0, 60, 90], 0), run(1, [51, 60, 90], 0)],
            0,
            "No recorded step has a lower FCD on the validation images than step 0. **Step 0**",
            "distinguishable",
        ),
        (HELPED, None, "does not say how many steps are enough", "is recommended"),
    ],
)
def test_the_recommendation_says_no_more_than_the_seeds_show(
    runs: list[StoredRun], steps: int | None, words: str, without: str
) -> None:
    card = format_card(export_of(*runs, steps=steps))
    assert words in card and without not in card.split("## How to sample it")[0]
    assert ("--steps 0" in card) == (steps is None)


def test_one_seed_has_no_column_of_means() -> None:
    card = format_card(export_of(run(0, [60, 50, 9], 1)))
    assert rows_of(card, "step")[0] == ["0", "60 ± 1.2", "30.00"]
    assert "One seed does not say whether the chain helps." in card
    assert "Number of seeds: 1." in card and "standard deviation" not in card


def test_a_seed_that_has_failed_does_not_count() -> None:
    failed = run(1, [1.0, 1.0, 1.0], 1)._replace(status="FAILED", scalars={}, chain={})
    card = format_card(export_of(run(0, [60, 50, 9], 1), failed))
    assert "Number of seeds: 1." in card


def test_a_blind_classifier_recommends_nothing() -> None:
    card = format_card(export_of(*[run(s, [9.0, 1.0, 5.0], 1, ruler=BLIND) for s in (0, 1)]))
    assert f"Ruler: {BLIND}." in card
    assert "measures nothing, so the FCDs say nothing. So no number of steps" in card
    assert "**Step" not in card and "model-index" not in metadata_of(card)
    assert [row[-1] for row in rows_of(card, "step")[:3]] == ["n/a"] * 3


def test_a_run_without_an_evaluation_says_so() -> None:
    bare = run(0, [60, 50, 9], 1)._replace(scalars={}, chain={})
    card = format_card(export_of(bare, steps=None))
    assert "were not evaluated: the run has no FCD. So no number of steps is recommended." in card
    assert "model-index" not in metadata_of(card) and "FCD of this model" not in card
    assert "genae sample FOLDER --num-samples 1000 --out SAMPLES --steps 0\n" in card


def test_chains_that_need_images_say_so() -> None:
    images = {**config.to_dict(tiny.experiment()), "data": {"config": "data.mnist", "root": "***"}}
    card = format_card(export_of(*HELPED, experiment=images))
    assert "--out SAMPLES\n" in card  # these samples need no images; an evaluation does
    assert "genae evaluate FOLDER --num-samples 10000 --data-root DIR\n" in card
    start = ChainConfig(sampler=Reconstruction())
    card = format_card(export_of(*HELPED, chain=start))
    assert "starts from real images, so `genae sample` cannot run it" in card
    assert "genae sample FOLDER" not in card and "```python" not in card


def test_the_model_and_its_settings_are_named() -> None:
    tags = {"study": "latent_dim", "git_commit": "abc", "study_commit": "unknown"}
    card = format_card(export_of(run(0, [60, 50, 9], 1, **tags, git_dirty="true")))
    about = dict(row for row in rows_of(card, "") if len(row) == 2)
    assert about["family"] == "VAE" and about["latent dimension"] == "2"
    assert about["images"] == "1 x 8 x 8 (channels, rows, columns), in \\[0, 1]"
    assert about["prior"] == "normal (sd=1.0)" and about["values in the weights file"] == "1,234"
    assert about["commit of genae"] == "abc, with changes that were not committed"
    assert about["commit of the study"] == "unknown"
    settings = dict(rows_of(card, "setting"))
    assert settings["model.latent_dim"] == "2" and settings["model.prior"] == "prior.normal"
    assert settings["training.epochs"] == "2"
    card = format_card(export_of(run(0, [60, 50, 9], 1, **(tags | {"study_commit": "def"}))))
    assert "| commit of the study | def |" in card


def test_a_model_of_another_package_is_not_called_trained_with_genae() -> None:
    """A decoder alone has draws from its prior, and no other step."""
    alone = run(0, [60, 50, 9], 0, family="gan (decoder alone)", training="none")
    alone = alone._replace(chain={"fcd": {0: 60.0}, "fcd_se": {}})
    values = {**config.to_dict(tiny.experiment()), "training": None}
    card = format_card(export_of(alone, steps=0, experiment=values, files=["a/net.pt", "b"]))
    assert "# gan (decoder alone) with 2 latent dimensions, measured on digits" in card
    assert "A model that another package has trained, measured with genae" in card
    assert "trained with genae" not in card and "that of the model that was exported" in card
    about = dict(row for row in rows_of(card, "") if len(row) == 2)
    assert about["training"] == "by another package"
    assert about["files in the weights file"] == "a/net.pt, b"
    assert "No other step was recorded." in card and "**Step 0** is recommended" in card
    assert metadata_of(card)["tags"] == ["genae", "gan-decoder-alone"]


def test_own_classes_are_named_with_the_flag_that_allows_them() -> None:
    own = {
        "my.family": {"class": "mine.Family", "file": "mine.py", "sha256": "12ab"},
        "lab.prior": {
            "class": "lab.priors.P",
            "file": "site-packages/lab/priors.py",
            "sha256": "34cd",
        },
    }
    card = format_card(export_of(*HELPED, own_code=own))
    assert (
        "genae sample FOLDER --num-samples 1000 --out SAMPLES --trust mine.py --trust lab\n"
        in card
    )
    assert ["mine.Family", "mine.py", "12ab"] in rows_of(card, "class")


def test_a_tag_with_a_path_or_with_signs_of_markdown_is_harmless() -> None:
    tags = {"study": "/home/jane/study", "dataset": "a|b", "family": "V*AE"}
    card = format_card(export_of(run(0, [60, 50, 9], 1, **tags)))
    assert "jane" not in card
    assert "| data set | a\\|b |" in card and "| family | V\\*AE |" in card
