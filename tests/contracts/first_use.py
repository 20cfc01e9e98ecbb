"""What several processes do when they use something first, all at the same moment or killed.

  python first_use.py race FUNCTION FOLDER PROCESSES ROUNDS
  python first_use.py kill FUNCTION FOLDER KILLS SEED [MAKER]

FUNCTION and MAKER name functions of this file, which take a new folder. "race" calls FUNCTION in
several processes at once. "kill" kills a process that calls MAKER (by default FUNCTION) at a
random moment of it, and then calls FUNCTION in the same folder. Each line of output is the JSON
list of what the calls of one round returned; a call that raised gives its error as text.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

FirstUse = Callable[[Path], Any]


def _create_tracker(folder: Path) -> Any:
    """Open the store, or make it."""
    from genae_core.tracking import mlflow_store, store_creation, store_uri

    store_creation.QUIET_S = 0.5  # no server of MLflow makes a store here
    uri = store_uri.resolve_uri(f"sqlite:///{folder}/mlflow.db")
    return mlflow_store.Tracker.create(uri, "study", folder / "artifacts")


def make_store(folder: Path) -> None:
    """Make the store, without a run."""
    _create_tracker(folder)


def open_store(folder: Path) -> list[Any]:
    """Open the store, log a run to it, and return the experiment and what the run holds."""
    tracker, key = _create_tracker(folder), f"key of {os.getpid()}"
    run = tracker.start(key, "a run", {"sweep": "s"}, {"param": "1"}, 0)
    tracker.log_metrics(run, [("chain/fcd", 1.0, 0)])
    tracker.finish(run.run_id)
    (mine,) = tracker.find(key=key)
    experiment = tracker.client.get_experiment(tracker.experiment_id)
    return [experiment.name, experiment.artifact_location, mine.info.status, mine.data.metrics]


def open_database(folder: Path) -> list[Any]:
    """Open the store at the variable STORE, and return the experiment's name."""
    from genae_core.tracking.mlflow_store import Tracker

    os.environ["GENAE_HOME"] = str(folder.parent / "home")
    uri = os.environ.get("STORE", f"sqlite:///{folder}/mlflow.db")
    tracker = Tracker.create(uri, f"study {folder.name}", folder)
    return [tracker.client.get_experiment(tracker.experiment_id).name]


def make_store_in_its_place(folder: Path) -> None:
    """Make the store as MLflow does, and as earlier versions of genae did."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder))


def fill_home(folder: Path) -> list[str]:
    """Make what a first launch makes besides the store, and return digests of it."""
    import torch

    from genae_core.config import home
    from genae_core.data.base import fingerprint
    from genae_core.data.digits import DigitsConfig
    from genae_core.data.load import load_splits
    from genae_core.metrics.classifier_cache import (
        SILENCE,
        cached_classifier,
        load_classifier,
    )
    from genae_core.testing import tiny
    from genae_core.training.checkpoint import weights_digest

    torch.set_num_threads(1)
    os.environ["GENAE_HOME"] = str(folder / "a" / "home")
    secret = home.secret_file(home.private_folder("local") / "token").read_text()
    splits = load_splits(DigitsConfig(), home.home(), say=lambda _: None)
    config = tiny.experiment().classifier
    where = home.home() / "classifiers"

    def note_training() -> AbstractContextManager[Any]:
        with (folder / "trainings").open("a") as file:
            file.write("x")
        return SILENCE

    classifier, _ = cached_classifier(
        config, DigitsConfig(), splits, where, on_train=note_training
    )
    partial = [str(path) for path in folder.rglob("*.partial*")]
    assert partial == [] and len(secret) == 64, (partial, secret)
    return [secret, fingerprint(splits), weights_digest(load_classifier(classifier))]


def start_call(function: FirstUse, folder: Path, answer: Path, pipe: tuple[int, int]) -> int:
    """Start a process that calls the function once the pipe is closed. Returns its id."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe[1])
            os.read(pipe[0], 1)
            answer.write_text(json.dumps(function(folder)))
        except BaseException as error:
            traceback.print_exc()
            answer.write_text(json.dumps(repr(error)))
        finally:
            os._exit(0)
    return pid


def call_at_once(function: FirstUse, folder: Path, processes: int) -> list[Any]:
    """What the function returned in each process."""
    answers = [folder.with_name(f"{folder.name}-{number}.json") for number in range(processes)]
    pipe = os.pipe()
    pids = [start_call(function, folder, answer, pipe) for answer in answers]
    for end in reversed(pipe):
        os.close(end)
    for pid in pids:
        os.waitpid(pid, 0)
    return [json.loads(answer.read_text()) for answer in answers]


def kill_call(function: FirstUse, folder: Path, seconds: float) -> None:
    """Call the function in a process that is killed after these seconds."""
    pipe = os.pipe()
    pid = start_call(function, folder, folder.with_name("killed.json"), pipe)
    for end in reversed(pipe):
        os.close(end)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def seconds_of(function: FirstUse, folder: Path) -> float:
    """The seconds that a call takes if nothing happens to it."""
    began = time.monotonic()
    call_at_once(function, folder, 1)
    return time.monotonic() - began


def run(*arguments: object) -> list[list[Any]]:
    """Run this file with these arguments, and return the answers of each round."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return [json.loads(line) for line in lines]


def main(do: str, name: str, base: str, number: str, more: str, maker: str = "") -> None:
    function, make = globals()[name], globals()[maker or name]
    rounds = int(more) if do == "race" else int(number)
    draw = random.Random(int(more))
    folders = [Path(base, str(count)) for count in range(rounds + 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    # This call imports what the calls import, so that the others need not.
    store = os.environ.pop("STORE", None)
    function(folders[-1])
    if store is not None:
        os.environ["STORE"] = store
    seconds = seconds_of(make, Path(base)) if do == "kill" else 0.0
    for folder in folders[:-1]:
        if do == "kill":
            kill_call(make, folder, draw.uniform(0, seconds))
        print(json.dumps(call_at_once(function, folder, int(number) if do == "race" else 1)))
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
