"""Kill random processes of small sweeps at random times, and compare the results with those of
undisturbed sweeps: `make soak ROUNDS=N SEED=S`.

A round starts a sweep in a session of its own, disturbs it, and resumes it until it has ended
with exit code 0. The round fails if
- a key has no finished run or several, or a run's params, weights or numbers differ in a bit;
- a process, a snapshot or a journal of the sweep is left;
- the sweep has not ended after `LAUNCHES` launches.
Each round has a seed of its own. A failing round prints the command that repeats it. The moments
at which processes are killed depend on the machine, so a repetition may need several rounds.
"""

import argparse
import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from contracts import servers
from contracts.scripts import ROOT, environment
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

LAUNCHES = 6  # a launch after the first two is not disturbed
LAUNCH_TIMEOUT_S = 240
END_TIMEOUT_S = 30  # for the processes of a killed driver
LONGEST_STOP_S = 8.0
COMMON = ("--precision", "fp32", "--checkpoint-seconds", "0", "--max-retries", "20")
STUDIES = {
    "latent_dim": ("--families", "aae", "vae", "--latent-dims", "2", "--epochs", "12"),
    "mcmc_steps": (
        *("--families", "dvae", "--latent-dims", "3", "--models", "dvae-3"),
        *("--epochs", "12", "--record", "0", "1", "--seeds", "0"),
        *("--samplers", "encode_decode", "langevin"),
    ),
    "model_family": ("--families", "flow_ae", "ex_post_ae", "--epochs", "8", "--smoke"),
}
ACTIONS = ("kill", "terminate", "stop")


def is_trial(process: psutil.Process) -> bool:
    return process.name().startswith("ray::ImplicitFunc")


def is_worker(process: psutil.Process) -> bool:
    return process.name().startswith("ray::") and not is_trial(process)


VICTIMS: dict[str, Callable[[psutil.Process], bool]] = {
    "trial": is_trial,
    "worker": is_worker,
    "raylet": lambda process: process.name() == "raylet",
    "gcs": lambda process: process.name() == "gcs_server",
}
WHOLE = ("driver", "group")  # the driver alone, and all processes of the session


class Disturbance(NamedTuple):
    """Something that happens to a sweep.

    Attributes:
        seconds: After the start of the launch.
        victim: A key of VICTIMS, one of WHOLE, or "server".
        action: One of ACTIONS.
        pause: The seconds for which the victim is stopped, if the action is "stop".
    """

    seconds: float
    victim: str
    action: str
    pause: float


class Place(NamedTuple):
    """Where all sweeps of a soak run."""

    home: Path
    server: servers.Server

    def launch(self, study: str, name: str, resume: bool) -> "subprocess.Popen[str]":
        """Start the sweep, in a session of its own."""
        command = [sys.executable, str(ROOT / "sweeps" / f"{study}.py"), *STUDIES[study], *COMMON]
        command += ["--name", name, "--tracking-uri", self.server.uri]
        log = self.home / f"{name}.log"
        with log.open("a") as file:
            file.write(f"$ {shlex.join(command)}{' --resume' if resume else ''}\n")
            file.flush()
            return subprocess.Popen(
                [*command, *(["--resume"] if resume else [])],
                env=environment(self.home),
                cwd=self.home,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
            )


def draw_disturbances(draw: random.Random) -> list[Disturbance]:
    """One to three disturbances of a launch, by their time."""
    victims = (*VICTIMS, *WHOLE, "server")
    drawn = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        drawn.append(
            Disturbance(
                seconds=draw.uniform(0, 25),
                victim=draw.choice(victims),
                action=draw.choice(ACTIONS),
                pause=draw.uniform(0.5, LONGEST_STOP_S),
            )
        )
    return sorted(drawn)


def disturb(
    what: Disturbance, driver: psutil.Process, place: Place, draw: random.Random
) -> str | None:
    """Do it. Returns what was done; None if the sweep has no such process at this time."""
    if what.victim == "server":
        if what.action == "stop":
            signal_tree(psutil.Process(place.server.process.pid), signal.SIGSTOP)
            time.sleep(what.pause)
            signal_tree(psutil.Process(place.server.process.pid), signal.SIGCONT)
        else:
            place.server.kill()
            time.sleep(what.pause)
            place.server.start()
        return f"{what.action} server, {what.pause:.1f} s"
    if what.victim in WHOLE:
        victims = [driver] if what.victim == "driver" else [driver, *descendants(driver)]
    else:
        matching = [p for p in descendants(driver) if matches(p, VICTIMS[what.victim])]
        victims = [draw.choice(matching)] if matching else []
    if not victims:
        return None
    number = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "stop": signal.SIGSTOP}
    for victim in victims:
        send(victim, number[what.action])
    if what.action == "stop":
        time.sleep(what.pause)
        for victim in victims:
            send(victim, signal.SIGCONT)
    return f"{what.action} {what.victim}" + (
        f", {what.pause:.1f} s" if what.action == "stop" else ""
    )


def descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def matches(process: psutil.Process, is_victim: Callable[[psutil.Process], bool]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return is_victim(process)
    return False


def send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def signal_tree(process: psutil.Process, number: int) -> None:
    for one in (process, *descendants(process)):
        send(one, number)


def run_round(place: Place, study: str, name: str, seed: int, events: list[str]) -> None:
    """Disturb a sweep and resume it until it has finished.

    events: gets a text about each thing that happened.

    Raises AssertionError if it does not finish, or leaves processes.
    """
    draw = random.Random(seed)
    for number in range(LAUNCHES):
        resume = (place.home / "sweeps" / name / "sweep.json").exists()
        started = time.monotonic()
        process = place.launch(study, name, resume)
        driver, everyone = psutil.Process(process.pid), []
        disturbed = number == 0 or (number == 1 and draw.random() < 0.3)
        for what in draw_disturbances(draw) if disturbed else ():
            everyone += wait_until(process, driver, started + what.seconds)
            if process.poll() is not None:
                break
            everyone += descendants(driver)
            happened = disturb(what, driver, place, draw)
            if happened is not None:
                events.append(f"{time.monotonic() - started:.1f} s: {happened}")
        everyone += wait_until(process, driver, started + LAUNCH_TIMEOUT_S)
        ended_in_time = process.poll() is not None
        if not ended_in_time:
            signal_tree(driver, signal.SIGKILL)
        assert ended_in_time, f"the sweep still ran after {LAUNCH_TIMEOUT_S} s"
        events.append(f"exit code {process.returncode}")
        _, alive = psutil.wait_procs(set(everyone), timeout=END_TIMEOUT_S)
        left = names_of_living(alive)
        assert not left, f"processes are left: {', '.join(left)}"
        if process.returncode == 0:
            return
        assert process.returncode in (1, 2, 130, -9, -15), f"exit code {process.returncode}"
    raise AssertionError(f"not finished after {LAUNCHES} launches")


def names_of_living(processes: list[psutil.Process]) -> list[str]:
    """The names and numbers of the processes that have not ended."""
    names = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                names.append(f"{process.name()} ({process.pid})")
    return names


def wait_until(
    process: "subprocess.Popen[str]", driver: psutil.Process, deadline: float
) -> list[psutil.Process]:
    """Wait until the time has come or the process has ended. Returns the processes below it."""
    below: dict[int, psutil.Process] = {}
    while process.poll() is None and time.monotonic() < deadline:
        below |= {child.pid: child for child in descendants(driver)}
        time.sleep(0.1)
    return list(below.values())


def results(place: Place, name: str) -> dict[str, Any]:
    """Per run of the sweep, by its cell, chain and seed: its params, weights and numbers. Times
    are left out.

    Raises AssertionError if there are several runs of one kind, or one that is not whole.
    """
    client = MlflowClient(place.server.uri)
    runs: list[Run] = []
    for experiment in client.search_experiments():
        runs += client.search_runs([experiment.experiment_id], f"tags.sweep = '{name}'")
    by_key: dict[str, Any] = {}
    for run in runs:
        key = " ".join(run.data.tags[name] for name in ("cell", "chain", "seed"))
        assert key not in by_key, f"several runs of {key}"
        assert run.info.status == "FINISHED" and "error" not in run.data.tags, run.info
        numbers = {}
        for metric in run.data.metrics:
            if "seconds" not in metric:
                history = client.get_metric_history(run.info.run_id, metric)
                numbers[metric] = sorted((m.step, m.value) for m in history)
        by_key[key] = {
            "params": run.data.params,
            "numbers": numbers,
            "weights": weights_of(client, run.info.run_id),
            "files": sorted(files_of(client, run.info.run_id)),
        }
    return by_key


def weights_of(client: MlflowClient, run_id: str) -> str | None:
    """The sha256 of the run's weights; None if another run of the same training holds them."""
    if "checkpoint" not in {file.path for file in client.list_artifacts(run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run_id, "checkpoint/checkpoint.json", folder)
        return str(json.loads(Path(path).read_text())["sha256"])


def files_of(client: MlflowClient, run_id: str, folder: str = "") -> Iterator[str]:
    for file in client.list_artifacts(run_id, folder or None):
        if file.is_dir:
            yield from files_of(client, run_id, file.path)
        else:
            # MLflow puts the time and a random number into the name of a picture of a step.
            path = Path(file.path)
            name = f"*{path.suffix}" if path.parent.name == "images" else path.name
            yield f"{path.parent / name}, empty: {file.file_size == 0}"


def differences(expected: dict[str, Any], actual: dict[str, Any]) -> list[str]:
    """What of two sweeps' results differs, one line each."""
    lines = [f"no run of {key}" for key in expected if key not in actual]
    lines += [f"a run too many, of {key}" for key in actual if key not in expected]
    for key in expected.keys() & actual.keys():
        for what, value in expected[key].items():
            if actual[key][what] != value:
                lines.append(f"{key}: other {what}")
    return lines


def check_folder(place: Place, name: str) -> None:
    """Raise AssertionError if the sweep has left snapshots or journals."""
    folder = place.home / "sweeps" / name
    left = [path.name for path in (folder / "states", folder / "journals") if path.exists()]
    assert not left, f"the sweep's folder still holds {left}"


def soak(rounds: int, seed: int, home: Path) -> int:
    """Run the undisturbed sweeps and then the rounds. Returns the number of failed rounds."""
    failed = 0
    expected: dict[str, dict[str, Any]] = {}
    with servers.on_sqlite(home) as server:
        place = Place(home, server)
        for number in range(seed, seed + rounds):
            draw = random.Random(number)
            study, name = draw.choice(sorted(STUDIES)), f"round-{number}"
            if study not in expected:
                process = place.launch(study, f"undisturbed-{study}", False)
                assert process.wait(LAUNCH_TIMEOUT_S) == 0, f"see {home}/undisturbed-{study}.log"
                expected[study] = results(place, f"undisturbed-{study}")
            started = time.monotonic()
            events: list[str] = []
            try:
                run_round(place, study, name, number, events)
                wrong = differences(expected[study], results(place, name))
                assert not wrong, "; ".join(wrong)
                check_folder(place, name)
            except AssertionError as error:
                failed += 1
                print(f"seed {number}: {study}: FAILED: {error} (log: {home / name}.log)")
                print(f"to repeat it: make soak ROUNDS=1 SEED={number}")
            seconds = time.monotonic() - started
            print(f"seed {number}: {study}: {'; '.join(events)} ({seconds:.0f} s)", flush=True)
    print(f"{rounds} rounds from seed {seed}: {failed} failed")
    return failed


def main() -> int:
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, default=None, help="a new folder, which is kept")
    arguments = parser.parse_args()
    if arguments.home is not None:
        arguments.home.mkdir(parents=True)
    folder = arguments.home or Path(tempfile.mkdtemp(prefix="genae-soak-"))
    print(f"files: {folder}", flush=True)
    return 1 if soak(arguments.rounds, arguments.seed, folder.resolve()) else 0


if __name__ == "__main__":
    sys.exit(main())
