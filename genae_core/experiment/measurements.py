"""What was measured once on a kind of hardware, kept in GENAE_HOME for the sweeps that follow.

A measurement is a file `measurements/NAME-QUESTION-HARDWARE.json`, whose name holds digests of
what was asked and of the hardware. If it is deleted, the measurement is made again.
"""

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from genae_core.config import identity
from genae_core.data import durable, sealed
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.hardware import identify_hardware

FOLDER = "measurements"  # in GENAE_HOME

Hardware = dict[str, str | int]


class Question(NamedTuple):
    """What is measured.

    Attributes:
        name: The name of the measurement.
        about: Everything but the hardware that decides the answer, as JSON values.
    """

    name: str
    about: dict[str, Any]


class Measurement(NamedTuple):
    """A measurement on some hardware.

    Attributes:
        seconds: The seconds of each way by its name, the plainest way first; infinite for one that
            fails.
        hardware: Where they were measured (see `identify_hardware`).
        date: When, in UTC.
        file: The file that it was read from; None for a new one.
    """

    seconds: dict[str, float]
    hardware: Hardware
    date: str
    file: Path | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"measured for {'this' if self.file is None else 'an earlier'} sweep, {self.date}"


def ask(name: str, experiment: Experiment, threads: int, **more: Any) -> Question:
    """The question about an optimiser step of an experiment with these CPU threads.

    more: What else decides the answer, as JSON values.
    """
    training = experiment.training
    assert training is not None
    about = {
        "model": identity(experiment.model),
        "shape": list(experiment.data.shape),
        "binarize": experiment.data.binarize,
        "batch_size": training.batch_size,
        "threads": threads,
    }
    return ask_about(name, {**about, **more})


def ask_about(name: str, about: dict[str, Any]) -> Question:
    """The question about these JSON values, with these versions of torch and genae."""
    try:
        version = importlib.metadata.version("genae")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return Question(name, {**about, "torch": torch.__version__, "genae": version})


def read_known(
    home: Path, question: Question, hardware: Hardware | None, say: Callable[[str], None]
) -> list[Measurement]:
    """The stored answers to a question. A file that is damaged is said and left out.

    Args:
        home: GENAE_HOME.
        question: The question.
        hardware: The hardware that is asked about; None is any.
        say: Called with a message for people about each damaged file.
    """
    pattern = f"{question.name}-{_digest(question.about)}-*.json"
    known = []
    for file in sorted((home / FOLDER).glob(pattern)):
        if hardware is not None and file != _file(home, question, hardware):
            continue
        try:
            known.append(_read(file, question))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            say(f"note: {file} cannot be used, so it is measured again: {error!r:.200}")
    return known


def recall_or_measure(
    known: Sequence[Measurement],
    gpu: bool,
    measure: Callable[..., dict[str, float]],
    *arguments: Any,
) -> Measurement:
    """The known measurement of this process's hardware, or else a new one."""
    hardware = identify_hardware(gpu)
    for one in known:
        if one.hardware == hardware:
            return one
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return Measurement(measure(*arguments), hardware, date)


def keep(
    home: Path, question: Question, new: Measurement, say: Callable[[str], None]
) -> Path | None:
    """Store a new measurement, and return its file. If the disk fails, this is said, and the next
    sweep measures again."""
    file = _file(home, question, new.hardware)
    about = {
        "about": question.about,
        "hardware": new.hardware,
        "date": new.date,
        "seconds": {way: one if math.isfinite(one) else None for way, one in new.seconds.items()},
    }
    try:
        durable.make_folder(file.parent)
        sealed.write(file, about)
    except OSError as error:
        say(f"note: the measurement is not kept: {error}")
        return None
    return file


def _read(file: Path, question: Question) -> Measurement:
    values = sealed.read(file)
    if values["about"] != question.about:
        raise ValueError("it answers another question")
    seconds = {
        way: math.inf if one is None else float(one) for way, one in values["seconds"].items()
    }
    if not 0 < min(seconds.values()) < math.inf:
        raise ValueError(f"it holds no seconds: {seconds}")
    return Measurement(seconds, dict(values["hardware"]), str(values["date"]), file)


def _file(home: Path, question: Question, hardware: Hardware) -> Path:
    name = f"{question.name}-{_digest(question.about)}-{_digest(hardware)}.json"
    return home / FOLDER / name


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
