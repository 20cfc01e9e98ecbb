"""The card of an exported model: a README.md with the metadata that model hubs read.

The form is Hugging Face's (https://huggingface.co/docs/hub/model-cards): YAML between two lines of
dashes, then Markdown. Everything in it comes from what the export and the store hold.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

import genae_core as genae
from genae_core.report.card.markdown import config_words, setting_rows, table
from genae_core.report.card.results import describe_results, is_evaluated
from genae_core.report.card.subject import ExportedModel
from genae_core.report.card.usage import describe_usage
from genae_core.report.tables import is_blind, share_rulers
from genae_core.tracking.mlflow_store import StoredRun

TASK = "unconditional-image-generation"  # the hub's name for it
NO_LICENCE = "# license: yours to state; it depends on the images that the model was trained on\n"


def format_card(export: ExportedModel) -> str:
    """The text of the card."""
    seeds = share_rulers(seed for seed in export.seeds if is_evaluated(seed))
    own = next((seed for seed in seeds if seed.run_id == export.run.run_id), None)
    sections = [
        f"# {export.title}",
        _introduction(export),
        *_picture(export),
        _about(export),
        *describe_results(export, own, seeds),
        *describe_usage(export),
        *_settings(export),
        _licence(export),
    ]
    return f"---\n{_metadata(export, own)}---\n\n" + "\n\n".join(sections) + "\n"


def _introduction(export: ExportedModel) -> str:
    end = (
        f"exported by its version {genae.__version__}. A new image is the decoding of a code that "
        "is drawn from the prior, or that some steps of a Markov chain have changed."
    )
    if export.is_trained_here:
        return f"A generative autoencoder, trained with genae and {end}"
    return f"A model that another package has trained, measured with genae and {end}"


def _licence(export: ExportedModel) -> str:
    origin = "" if export.is_trained_here else ", and on that of the model that was exported"
    return (
        "## Licence\n\nThe licence of these weights is for the person who publishes them to "
        "state, and it depends on the licence of the images that they were trained on"
        f"{origin}. State it as `license` at the top of this file. The licence of genae is about "
        "its code only."
    )


def _metadata(export: ExportedModel, run: StoredRun | None) -> str:
    """The YAML. An FCD that measures nothing is no result, and is left out."""
    tags = export.tags
    family, data = tags.get("family", "model"), tags.get("dataset", "unknown")
    values: dict[str, Any] = {
        "library_name": "genae",
        "pipeline_tag": TASK,
        "tags": ["genae", re.sub(r"\W+", "-", family.lower()).strip("-")],
    }
    if run is not None and not is_blind(run):
        metrics = [
            {"type": "fcd", "name": f"FCD at step {step}", "value": value}
            for step, value in sorted(run.chain["fcd"].items())
        ]
        result = {
            "task": {"type": TASK},
            "dataset": {"type": data, "name": data, "split": "test"},
            "metrics": metrics,
        }
        values["model-index"] = [{"name": export.title, "results": [result]}]
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=99)
    return NO_LICENCE + text


def _picture(export: ExportedModel) -> Iterator[str]:
    if export.picture is not None:
        yield f"![Samples of the model]({export.picture})"
        yield "*Samples of the model. Each row is one chain, and each column one recorded step.*"


def _about(export: ExportedModel) -> str:
    """The table of what the model is."""
    tags, experiment = export.tags, export.experiment
    channels, height, width = export.shape
    training = experiment.get("training")
    prior = export.model.get("prior")
    rows = {
        "family": tags.get("family", "unknown"),
        "latent dimension": tags.get("latent_dim", "unknown"),
        "prior": config_words(prior) if prior else "a part of the family, see the settings",
        f"{'bytes' if export.files else 'values'} in the weights file": f"{export.weights:,}",
        **({"files in the weights file": ", ".join(export.files)} if export.files else {}),
        "data set": tags.get("dataset", "unknown"),
        "images": f"{channels} x {height} x {width} (channels, rows, columns), in [0, 1]",
        "sha256 of the data": tags.get("data_sha256", "unknown"),
        "training": f"{config_words(training)}, seed {tags.get('seed', 'unknown')}"
        if training
        else "by another package",
        "study": tags.get("study", "unknown"),
        "commit of the study": _commit(tags, "study"),
        "commit of genae": _commit(tags, "git"),
        "run": export.run.run_id,
    }
    return "## The model\n\n" + table([["", ""], *map(list, rows.items())])


def _commit(tags: dict[str, str], of: str) -> str:
    """The commit in the tags `of`_commit and `of`_dirty."""
    dirty = tags.get(f"{of}_dirty") == "true"
    changes = ", with changes that were not committed" if dirty else ""
    return tags.get(f"{of}_commit", "unknown") + changes


def _settings(export: ExportedModel) -> Iterator[str]:
    """All settings of the model and of its training."""
    yield "## Settings"
    rows = [["setting", "value"]]
    rows += setting_rows("model", export.model)
    rows += setting_rows("training", export.experiment.get("training"))
    yield table(rows)
    yield "`checkpoint.json` holds the whole experiment."
