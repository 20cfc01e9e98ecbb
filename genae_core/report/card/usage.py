"""What a card says of the use of the model: commands, an example, and the code that it needs."""

import dataclasses
import shlex
from collections.abc import Iterator

import genae_core as genae
from genae_core.config.definitions import Definition, stored_definition
from genae_core.report.card.markdown import table
from genae_core.report.card.subject import ExportedModel


def sampling_words(export: ExportedModel) -> list[str]:
    """The flags that `genae sample` needs for this model; DIR stands for the place of images."""
    steps = [] if export.steps is not None else ["--steps", "0"]
    fitted = _data_words(export) if export.chain.fitted_prior is not None else []
    return [*steps, *fitted, *_trust_words(export)]


def _data_words(export: ExportedModel) -> list[str]:
    return ["--data-root", "DIR"] if "root" in export.experiment.get("data", {}) else []


def _trust_words(export: ExportedModel) -> list[str]:
    code = dict.fromkeys(each.to_trust for each in _definitions(export) if each.to_trust)
    return [word for name in code for word in ("--trust", name)]


def describe_usage(export: ExportedModel) -> Iterator[str]:
    """The commands, with the flags that this model needs, and the same in Python."""
    chain, data = export.chain, _data_words(export)
    yield "## How to sample it"
    if chain.sampler.starts_from == "images":
        yield "Its chain starts from real images, so `genae sample` cannot run it."
    else:
        sample = ["genae", "sample", "FOLDER", "--num-samples", "1000", "--out", "SAMPLES"]
        evaluate = ["genae", "evaluate", "FOLDER", "--num-samples", "10000"]
        sample += sampling_words(export)
        evaluate += [*data, *_trust_words(export)]
        yield f"```sh\n{shlex.join(sample)}\n{shlex.join(evaluate)}\n```"
        yield (
            "FOLDER is the folder of this file"
            f"{', and DIR is where the images of the data set are' if data else ''}. "
            "`genae evaluate` trains the classifier of the FCD again if it does not come with "
            "genae and this machine does not have it."
        )
        if chain.fitted_prior is not None:
            yield (
                "The chain starts from a distribution that is fitted to the codes of the training "
                "images, so sampling reads the images too. They are not a part of this folder."
            )
    yield from _own_classes(export)
    example = _python_example(export)
    if example:
        yield f"In Python:\n\n```python\n{example}```"


def _python_example(export: ExportedModel) -> str:
    """The lines that draw the same samples; "" if they need more than genae and this folder."""
    chain, sampler = export.chain, type(export.chain.sampler).__name__
    is_simple = chain.sampler.starts_from == "prior" and chain.fitted_prior is None
    if not is_simple or sampler not in dir(genae) or export.own_code:
        return ""
    record = (0, export.steps) if export.steps else (0,)
    chain = dataclasses.replace(chain, record=record, num_chains=None)
    return (
        f"from genae_core import ChainConfig, {sampler}, load_model, run_chain\n\n"
        'model = load_model("FOLDER")\n'
        f"chain = {chain!r}\n"
        "for step, first, chains in run_chain(model, chain, num_chains=1000):\n"
        f"    images = chains.mean  # of the chains from number `first` on, after `step` steps\n"
    )


def _own_classes(export: ExportedModel) -> Iterator[str]:
    """What is said of the classes that are not genae's."""
    definitions = list(_definitions(export))
    if definitions:
        rows = [["class", "file", "sha256 of the file"]]
        rows += [[each.path, each.file or "none", each.sha256 or "none"] for each in definitions]
        yield (
            "These classes are not a part of genae. Whoever loads the model needs the files that "
            "define them, and names them with `--trust`, or in Python with `genae_core.trust`. "
            "The files are not in this folder unless its publisher has added them."
        )
        yield table(rows)


def _definitions(export: ExportedModel) -> Iterator[Definition]:
    for name in export.own_code:
        definition = stored_definition(export.own_code, name)
        if definition is not None:
            yield definition
