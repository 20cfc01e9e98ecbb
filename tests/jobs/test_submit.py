"""Jobs sent to a real cluster on this machine: what arrives, what comes back, and what is refused
before anything is sent."""

import asyncio
import http.server
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from genae_core.cluster.batch_node import free_port
from genae_core.config.command_name import command_line

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
GIT = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
PASSWORD = "a-password-that-no-log-may-hold"
# Run by the jobs of these tests: says what it was given, and ends as it is told.
SCRIPT = """
import os, signal, sys, time
import genae_core.data
import genae_core.config.home
print("ARGS", sys.argv[1:])
files = genae_core.config.home.__file__, genae_core.data.__file__
print("CODE", *map(os.path.relpath, files))
print("SENT", sorted(name for name in os.listdir(".") if name in ("data", "mine.db", "ignored")))
print("ENV", os.environ["GENAE_COMMIT"], os.environ["GENAE_DIRTY"], os.environ.get("COLOUR"))
print("GONE", "MLFLOW_TRACKING_PASSWORD" in os.environ, flush=True)
def leave(*_):
    time.sleep(5)  # as a sweep that delivers what it logged
    print("LEFT WELL", flush=True)
    sys.exit(0)
if "sleep" in sys.argv:
    signal.signal(signal.SIGTERM, leave)
    time.sleep(600)
sys.exit(int(sys.argv[-1]))
"""


class Cluster(NamedTuple):
    """A node that runs, and the checkout from which jobs are sent to it."""

    home: Path
    repository: Path
    address: str
    scratch: Path
    pid: int


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*GIT, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment(home: Path, checkout: Path = ROOT) -> dict[str, str]:
    """The variables of a user whose Python imports genae_core from this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "GENAE_"))}
    ours = {"GENAE_HOME": str(home), "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    return kept | ours


def run(command: list[str], home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=environment(home) | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def node(home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run([str(ROOT / "cluster" / "local" / "node.py"), *flags], home)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean checkout of this working tree, with SCRIPT as jobs/hello.py, and what stays here."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    folder = tmp_path_factory.mktemp("repository")
    for name in ("cluster", "genae_core", "jobs", "sweeps"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "jobs" / "hello.py").write_text(SCRIPT)
    with (folder / ".gitignore").open("a") as file:
        file.write("ignored/\n")
    for name in ("data/digits.bin", "ignored/file", "mine.db"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not to be sent")
    git(folder, "init", "-q")
    git(folder, "add", "-f", "data")  # also where someone has committed them
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture(scope="module")
def cluster(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("home")
    done = node(home, "up", "--num-cpus", "1", "--dashboard-port", str(free_port()))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        record = json.loads((home / "local" / "node.json").read_text())
        scratch = Path(record["scratch"])
        yield Cluster(home, repository, record["address"], scratch, record["pid"])
    finally:
        down = node(home, "down")
    assert down.returncode == 0, down.stderr
    assert not scratch.exists() and not (home / "local" / "node.json").exists()
    assert list((home / "local" / "logs").glob("job-driver-*.log"))


def command(cluster: Cluster, *flags: str) -> list[str]:
    return [str(cluster.repository / "jobs" / "submit.py"), *flags]


def submit(cluster: Cluster, *flags: str, **more: str) -> subprocess.CompletedProcess[str]:
    here = {"PYTHONPATH": str(cluster.repository)}
    return run(command(cluster, *flags), cluster.home, **here, **more)


def test_a_job_is_followed_and_its_exit_code_returned(cluster: Cluster) -> None:
    more = {"COLOUR": "blue", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    done = submit(cluster, "--env", "COLOUR", "--", "jobs/hello.py", "--flag", "a b", "3", **more)
    assert done.returncode == 3, done.stdout + done.stderr
    commit = git(cluster.repository, "rev-parse", "HEAD")
    assert "ARGS ['--flag', 'a b', '3']" in done.stdout
    assert f"ENV {commit} false blue" in done.stdout
    assert "CODE genae_core/config/home.py genae_core/data/__init__.py" in done.stdout
    assert "SENT []" in done.stdout and "GONE False" in done.stdout
    assert "python jobs/hello.py --flag 'a b' 3, commit " + commit[:9] in done.stdout
    assert "Traceback" not in done.stderr
    about = details(cluster, done.stdout)
    assert about["metadata"]["commit"] == commit and about["metadata"]["dirty"] == "false"
    assert about["metadata"]["command"] == "python jobs/hello.py --flag 'a b' 3"
    held = [done.stdout, done.stderr, json.dumps(about)]
    logs = [
        path for path in cluster.scratch.rglob("*") if path.is_file() and path.suffix != ".zip"
    ]
    assert any("job-driver" in path.name for path in logs)
    held += [path.read_text(errors="replace") for path in logs]
    token = (cluster.home / "local" / "token").read_text()
    assert not [text for text in held if PASSWORD in text or token in text]


def details(cluster: Cluster, printed: str) -> dict[str, Any]:
    """What Ray shows of the job to whoever has the token."""
    job = re.findall(r"raysubmit_\w+", printed)[0]
    code = (
        "import json, sys; from ray.job_submission import JobSubmissionClient as C;"
        "print(C(sys.argv[1]).get_job_info(sys.argv[2]).json())"
    )
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(cluster.home / "local" / "token"),
        "PYTHONWARNINGS": "ignore",
    }
    done = run(["-c", code, cluster.address, job], cluster.home, **token)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_dirty_tree_is_refused_unless_allowed(cluster: Cluster) -> None:
    new = cluster.repository / "new.txt"
    new.write_text("")
    try:
        refused = submit(cluster, "--", "jobs/hello.py", "0")
        allowed = submit(cluster, "--allow-dirty", "--", "jobs/hello.py", "0")
    finally:
        new.unlink()
    assert refused.returncode == 2 and "raysubmit" not in refused.stdout
    assert "these files differ from the commit: new.txt" in refused.stderr
    assert allowed.returncode == 0, allowed.stderr
    assert re.search(r"ENV [0-9a-f]{40} true None", allowed.stdout)


def test_ctrl_c_leaves_the_job_and_only_loopback_listens(cluster: Cluster) -> None:
    """Only loopback listens while a job runs; a follower sees the stop as 130."""
    line = command(cluster, "--", "jobs/hello.py", "sleep", "0")
    with subprocess.Popen(
        [sys.executable, *line],
        env=environment(cluster.home, cluster.repository),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        assert process.stdout is not None
        printed = ""
        while "GONE" not in printed:
            assert (more := process.stdout.readline()), printed
            printed += more
        listening = listeners(cluster)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (
        process.returncode == 130 and "continues on the cluster" in err and "Traceback" not in err
    )
    assert listening and all(re.match(r"127\.|\[(::ffff:127\.|::1\])", a) for a in listening)
    again = next(row for row in err.splitlines() if row.startswith("stop it:"))
    assert details(cluster, printed)["status"] == "RUNNING"
    stop = shlex.split(again.removeprefix("stop it:"))
    known = dict(word.split("=", 1) for word in stop if "=" in word)
    words = [word for word in stop if "=" not in word]
    assert words[:3] == ["ray", "job", "stop"]
    done = run(["-m", "ray.scripts.scripts", *words[1:]], cluster.home, **known)
    assert done.returncode == 0, done.stderr
    assert details(cluster, printed)["status"] == "STOPPED"
    log = run(["-m", "ray.scripts.scripts", "job", "logs", *words[3:]], cluster.home, **known)
    assert "LEFT WELL" in log.stdout, log.stdout + log.stderr  # it was given the time to


def heed_ctrl_c() -> None:
    """Also where the tests run in the background of a shell, which has its children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def listeners(cluster: Cluster) -> list[str]:
    """Where the cluster's processes listen, as ss says; all of them must be found."""
    if shutil.which("ss") is None:
        pytest.skip("no ss")
    rows = subprocess.run(["ss", "-tulnpH"], capture_output=True, text=True, check=True).stdout
    found = []
    for row in rows.splitlines():
        pids = {int(pid) for pid in re.findall(r"pid=(\d+)", row)}
        if any(session(pid) == cluster.pid for pid in pids):
            found.append(row.split()[4])
    assert len(found) > 5, rows  # the dashboard, GCS, raylet, agents
    return found


def session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "asks for a token: give its file with --token"),
        ("wrong", "asks for a token: the one in "),
        ("open", "others can read the token: chmod 600"),
        ("none", "there is no token file"),
    ],
)
def test_without_its_token_nothing_is_sent(
    token: str | None, words: str, cluster: Cluster, tmp_path: Path
) -> None:
    flags: list[str] = []
    if token is not None:
        flags = ["--token", str(tmp_path / "token")]
        if token != "none":
            (tmp_path / "token").write_text("0" * 64)
            (tmp_path / "token").chmod(0o644 if token == "open" else 0o600)
    line = command(cluster, "--address", cluster.address, *flags, "--", "jobs/hello.py", "0")
    done = run(line, tmp_path / "another-home", PYTHONPATH=str(cluster.repository))
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert "raysubmit" not in done.stdout


def test_up_is_refused_while_it_is_up(cluster: Cluster) -> None:
    again = node(cluster.home, "up")
    assert again.returncode == 2
    assert f"a node is up at {cluster.address} already" in again.stderr
    assert f"{command_line('node')} down" in again.stderr
    seen = node(cluster.home, "status")
    assert seen.returncode == 0 and cluster.address in seen.stdout
    assert (cluster.home / "local").stat().st_mode & 0o777 == 0o700
    assert (cluster.home / "local" / "token").stat().st_mode & 0o777 == 0o600
    token = (cluster.home / "local" / "token").read_text()
    assert len(token) == 64 and token not in again.stderr + seen.stdout


@pytest.mark.faults
def test_a_sweep_runs_as_a_job_and_its_runs_know_the_commit(cluster: Cluster) -> None:
    flags = ("--families", "vae", "--latent-dims", "2", "--smoke")
    done = submit(cluster, "--", "sweeps/latent_dim.py", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 trials, 0 failed; 1 finished runs" in done.stdout
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  seconds, in this test alone

    store = MlflowClient(f"sqlite:///{cluster.home}/mlflow.db")
    found = store.search_experiments(filter_string="name = 'latent_dim'")[0]
    (run,) = store.search_runs([found.experiment_id], "tags.stage = 'model'")
    tags = run.data.tags
    assert tags["git_commit"] == git(cluster.repository, "rev-parse", "HEAD")


# What needs no cluster.


@pytest.fixture
def submitting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    return importlib.import_module("genae_core.commands.submit")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"command": ()}, "give a script after --"),
        ({"command": ("a.py", "--tracking-uri", "http://me:pw@host")}, "a flag holds a password"),
        ({"env": ("MLFLOW_TRACKING_PASSWORD",)}, "Ray logs these values"),
        ({"env": ("AWS_SECRET_ACCESS_KEY",)}, "Ray logs these values"),
        ({"env": ("AWS_ACCESS_KEY_ID",)}, "Ray logs these values"),
        ({"env": ("HF_TOKEN",)}, "Ray logs these values"),
        ({"env": ("STORE",)}, "Ray logs these values"),
        ({"env": ("NOT_THERE",)}, "there is no such variable"),
        ({"max_mib": -1.0}, "max_mib"),
    ],
)
def test_wrong_flags_are_refused(
    flags: dict[str, Any], words: str, submitting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, PASSWORD)
    monkeypatch.setenv("HF_TOKEN", PASSWORD)
    monkeypatch.setenv("STORE", f"postgresql://me:{PASSWORD}@host/db")
    with pytest.raises(ValueError, match=words) as refused:
        submitting.Options(**{"command": ("jobs/hello.py",)} | flags)
    assert PASSWORD not in str(refused.value)


def test_variables_without_secrets_can_be_sent(
    submitting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("KEYBOARD", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "http://host:5000")
    assert submitting.Options(command=("a.py",), env=names).env == names


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (None, "no cluster is up: start one with .* node up"),
        ("http://127.0.0.1:1", "no Ray cluster answers at http://127.0.0.1:1"),
        ("http://10.0.0.1:8265", "open a tunnel"),
        ("127.0.0.1:6379", "--address is the dashboard's"),
        ("ray://127.0.0.1:10001", "--address is the dashboard's"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_reported(
    address: str | None, words: str, submitting: ModuleType
) -> None:
    options = submitting.Options(command=("jobs/hello.py",), address=address)
    with pytest.raises(ValueError, match=words):
        submitting.connect(options)


def test_a_proxy_sees_nothing_of_what_stays_on_this_machine(
    submitting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token and the files would go to it in clear."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "example.org")
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        address = f"http://127.0.0.1:{free_port()}"
        try:
            with pytest.raises(ValueError, match="no Ray cluster answers"):
                submitting.connect(submitting.Options(command=("a.py",), address=address))
        finally:
            server.shutdown()
            thread.join()
    assert asked == []
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"


def test_a_server_that_is_no_dashboard_is_reported(submitting: ModuleType) -> None:
    port = free_port()
    server = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not listens(port):
            time.sleep(0.05)
        options = submitting.Options(command=("a.py",), address=f"http://127.0.0.1:{port}")
        try:
            with pytest.raises(ValueError, match="is not the address of a Ray dashboard"):
                submitting.connect(options)
        finally:
            process.kill()


class Cut:
    """A job server whose connection breaks off after each line but one, and then ends."""

    def __init__(self, status: str, code: int | None) -> None:
        self.cuts, self.status, self.code = 2, status, code

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for number, line in enumerate(["one\n", "two\n", "three\n"]):
            yield line
            await asyncio.sleep(0)
            if number == 2 - self.cuts:
                self.cuts -= 1
                raise RuntimeError("cut")

    def get_job_info(self, job: str) -> SimpleNamespace:
        from ray.job_submission import JobStatus  # noqa: PLC0415

        status = JobStatus(self.status)
        return SimpleNamespace(status=status, driver_exit_code=self.code, message="why")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 3, 3), ("FAILED", -9, 137), ("FAILED", None, 1)]
    + [("STOPPED", None, 130)],
)
def test_a_cut_connection_loses_and_repeats_nothing(
    status: str,
    code: int | None,
    expected: int,
    submitting: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(submitting.time, "sleep", lambda seconds: None)
    assert submitting.follow(Cut(status, code), "job") == expected
    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert ("why" in err) == (code is None)


def test_following_ends_if_the_cluster_is_silent(
    submitting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Cut("RUNNING", None)
    silent.cuts = 10**9
    clock = iter(range(0, 10**6, 20))
    monkeypatch.setattr(submitting.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(submitting.time, "monotonic", lambda: next(clock))

    def gone(job: str) -> SimpleNamespace:
        raise OSError("refused")

    monkeypatch.setattr(silent, "get_job_info", gone)
    with pytest.raises(ConnectionError, match="no longer answers: refused"):
        submitting.follow(silent, "job")
