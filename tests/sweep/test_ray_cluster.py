"""The nodes of a cluster, and the work that is mapped over them."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contracts import scripts
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

from genae_core.sweep import driver, ray_cluster
from genae_core.sweep.options import LaunchOptions

TWO = {"CPU": 2.0, "memory": 8.0 * 2**30}
GPUS = {"CPU": 16.0, "GPU": 2.0, "memory": 64.0 * 2**30, "accelerator_type:A100": 1.0}


def set_nodes(monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
    monkeypatch.setattr(ray_cluster, "nodes", lambda: list(nodes))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, [2, 16]),
        ({"cpus_per_trial": 3}, [0, 5]),
        ({"gpus_per_trial": 0.5}, [0, 4]),
        ({"gpus_per_trial": "auto"}, [0, 2]),
        ({"memory_per_trial": 5}, [1, 12]),
        ({"gpus_per_trial": 0.5, "accelerator_type": "A100"}, [0, 4]),
        ({"gpus_per_trial": 0.5, "accelerator_type": "H100"}, [0, 0]),
    ],
)
def test_each_node_holds_what_its_scarcest_resource_allows(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], expected: list[int]
) -> None:
    set_nodes(monkeypatch, TWO, GPUS)
    assert ray_cluster.slots(LaunchOptions(**flags).trial_resources) == expected


def test_tune_and_measurements_ask_for_the_type_of_accelerator() -> None:
    options = LaunchOptions(gpus_per_trial=0.5, accelerator_type="A100")
    (bundle,) = resource_dict_to_pg_factory(options.trial_resources).bundles
    assert bundle == {"CPU": 1, "GPU": 0.5, "accelerator_type:A100": 0.001}
    assert set(LaunchOptions().trial_resources) == {"cpu", "gpu"}


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"accelerator_type": "A100"}, "only for trials with a GPU: give --gpus-per-trial too"),
        ({"accelerator_type": "", "gpus_per_trial": 1.0}, "must be a name of Ray, such as A100"),
        ({"accelerator_type": "a b", "gpus_per_trial": 1.0}, "must be a name of Ray"),
    ],
)
def test_a_type_of_accelerator_that_makes_no_sense_is_refused(
    flags: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        LaunchOptions(**flags)


def test_a_type_that_no_node_has_is_refused_unless_the_cluster_grows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_nodes(monkeypatch, TWO, GPUS)
    driver._check_accelerator(None, grows=False)
    driver._check_accelerator("A100", grows=False)
    assert capsys.readouterr().out == ""
    reason = r"that a node here has, got accelerator_type='H100', nodes=\['A100'\]"
    with pytest.raises(ValueError, match=reason):
        driver._check_accelerator("H100", grows=False)
    driver._check_accelerator("H100", grows=True)
    assert "the trials wait until a node with the --accelerator-type H100" in (
        capsys.readouterr().out
    )


def test_one_node_without_room_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = LaunchOptions().trial_resources
    set_nodes(monkeypatch, TWO)
    assert ray_cluster.single_node_fits(trial, 0) and ray_cluster.single_node_fits(trial, 2)
    assert not ray_cluster.single_node_fits(trial, 3)
    set_nodes(monkeypatch, {"memory": 1.0})
    assert not ray_cluster.single_node_fits(trial, 1)  # a head without CPUs
    set_nodes(monkeypatch, TWO, TWO)
    assert not ray_cluster.single_node_fits(trial, 2)


def test_the_token_of_a_new_cluster_is_made_before_ray_would_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's own")
    ray_cluster._make_token()
    assert not token.exists()
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    ray_cluster._make_token()
    text = token.read_text()
    ray_cluster._make_token()
    assert len(text) == 64 and token.read_text() == text


def test_a_server_of_ray_that_has_ended_is_reported_until_the_cluster_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_cluster, "WATCH_S", 0.01)
    dead: list[str] = []
    reports: list[str] = []
    monkeypatch.setattr(ray_cluster, "_dead_server", lambda: dead[0] if dead else None)
    with ray_cluster.watch_servers(reports.append):
        time.sleep(0.1)
        assert reports == []
        dead.append("raylet")
        end = time.monotonic() + 30
        while "raylet" not in reports and time.monotonic() < end:
            time.sleep(0.01)
        assert "raylet" in reports
        monkeypatch.setattr(ray_cluster, "import_ray", lambda: SimpleNamespace(shutdown=int))
        ray_cluster.disconnect()
        time.sleep(0.05)
        reports.clear()
        time.sleep(0.1)
    assert reports == []


def test_joining_a_cluster_leaves_the_handler_of_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray installs its own, and one of its C++ code, which prints a stack."""
    before = signal.getsignal(signal.SIGTERM)
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    )
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    monkeypatch.setattr(ray_cluster, "check_cluster", lambda address: address)
    set_nodes(monkeypatch, TWO)
    assert ray_cluster.connect("auto", 1) == 1
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("cpus", "workers", "starts"), [(1, 1, 1), (2, 1, 1), (4, 5, 4), (64, 12, 12), (2, 0, 0)]
)
def test_a_new_cluster_starts_the_workers_that_the_trials_need(
    monkeypatch: pytest.MonkeyPatch, cpus: int, workers: int, starts: int
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "_OWN", [])
    ray = ray_cluster.import_ray()
    services = ray._private.services
    commands: list[list[str]] = []
    settings: dict[str, Any] = {}

    def init(**arguments: Any) -> None:
        settings.update(arguments["_system_config"])
        services.start_ray_process(["gcs", "--x=1"], "gcs_server")
        services.start_ray_process(["raylet", f"{ray_cluster.FIRST_WORKERS}{cpus}"], "raylet")

    monkeypatch.setattr(services, "start_ray_process", lambda words, _: commands.append(words))
    monkeypatch.setattr(ray, "init", init)
    set_nodes(monkeypatch, TWO)
    ray_cluster.connect(None, cpus, workers=workers)
    assert commands == [["gcs", "--x=1"], ["raylet", f"--num_prestart_python_workers={starts}"]]
    assert settings["prestart_worker_first_driver"] == (starts > 0)
    assert settings["preload_python_modules"] == (["genae_core.sweep.tune"] if starts else [])
    assert importlib.util.find_spec(ray_cluster.PRELOADED) is not None


ALONE = """
import os, psutil, re, subprocess
from genae_core.sweep import ray_cluster
ray_cluster.connect(None, 1)
rows = subprocess.run(["ss", "-tulnpH"], capture_output=True, text=True, check=True).stdout
for row in rows.splitlines():
    if any(os.getsid(int(pid)) == os.getsid(0) for pid in re.findall(r"pid=(\\d+)", row)):
        print("listens", row.split()[4])
for process in psutil.Process().children(recursive=True):
    print("runs", *process.cmdline())
ray_cluster.disconnect()
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ss") is None, reason="there is no ss")
def test_a_sweep_of_its_own_listens_on_loopback_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    addresses = re.findall(r"listens (\S+)", done.stdout)
    assert len(addresses) > 3, done.stdout  # GCS, raylet, its agent
    assert "raylet/raylet " in done.stdout  # and nothing that only a larger cluster needs
    assert not any(name in done.stdout for name in ("monitor.py", "dashboard/dashboard.py"))
    # Ray waits for four seconds for this port, which another Ray of this machine may have.
    assert not any(address.endswith(":52365") for address in addresses)
    for address in addresses:
        assert re.match(r"127\.|\[(::ffff:127\.|::1\])", address), addresses


HEAD = """
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper
ray_cluster.connect(None, 0)
mapper = ClusterMapper(node_local=True)
print(list(mapper(lambda job, part: job + part, 10, [1, 2, 3])))
print(list(mapper(lambda worker, part: worker + part, 10, [1], start=lambda job: job * 2)))
ray_cluster.disconnect()
"""


LEFT = """
import threading, time
from genae_core.sweep import ray_cluster
from genae_core.sweep.cluster_mapper import ClusterMapper

def call(refuses, item):
    if refuses and item == 3:
        raise OSError("the disk refuses")
    time.sleep(0.05)
    return item

def open_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith(ray_cluster.THREADS)]

ray_cluster.connect(None, 2)
try:
    list(ClusterMapper(node_local=True)(call, True, list(range(30))))
except OSError as error:
    held = error  # keeps all its frames alive, as a caller that shows it does
left = ClusterMapper(node_local=True)(call, False, list(range(30)))
print(next(left), len(open_threads()) > 0)
ray_cluster.disconnect()
print(held, open_threads())
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, without the time that its imports take."""
    path = folder / "program.py"
    path.write_text(program)
    return scripts.run(str(path), variables=os.environ, cwd=folder)


@pytest.mark.slow
def test_no_thread_of_ray_data_outlives_the_connection(tmp_path: Path) -> None:
    """Such a thread would end the process without a message, in the middle of its output."""
    done = run(LEFT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["0 True", "the disk refuses []"]


@pytest.mark.slow
def test_a_head_without_cpus_does_node_local_work_itself(tmp_path: Path) -> None:
    """Ray would wait for ever for CPUs that no other node can bring."""
    done = run(HEAD, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[11, 12, 13]", "[21]"]
