"""Start Prometheus and Grafana on this machine, to watch a running sweep. Ctrl-C ends both.

Without --discovery they show the node of `genae node`, whenever it is up. Both listen
only on 127.0.0.1. Their data stays in GENAE_HOME/watch.

  genae watch
  genae watch --discovery /tmp/ray/prom_metrics_service_discovery.json
"""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from filelock import FileLock, Timeout

from genae_core import config, report
from genae_core.cluster import local_node as node
from genae_core.config.command_name import command_line
from genae_core.config.home import private_folder, secret_file
from genae_core.config.places import locate_fields
from genae_core.data import durable

# The settings of both programs, and the dashboard.
HERE = Path(report.__file__).resolve().parent / "grafana"
START_S = 180  # the longest wait for an answer, which suits a busy machine too
STOP_S = 20  # the longest wait for Prometheus, which first writes its memory to disk
POLL_S = 2.0  # between two checks of the programs and of the list of targets
DISCOVERY_FILE = "prom_metrics_service_discovery.json"  # in Ray's --temp-dir on the head
PACKAGED = Path("/usr/share/grafana")  # where Grafana's deb and rpm put it
NO_PROMETHEUS = (
    "install it (apt-get install prometheus, brew install prometheus, or an archive of "
    "prometheus.io/download) or give --prometheus; if the package starts a service, that service "
    "listens on every interface: systemctl disable --now prometheus"
)
NO_GRAFANA = (
    "install it (grafana.com/grafana/download, brew install grafana) or give the folder of an "
    "unpacked archive with --grafana"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    discovery: Path | None = None
    """The file in which Ray lists its metrics ports on a cluster's head (default: the file of the
    node of `genae node`, which may start later)."""
    prometheus: str = "prometheus"
    """The command or the path of Prometheus."""
    grafana: Path | None = None
    """The folder of Grafana, with its bin/ and conf/ (default: the folder of the command grafana,
    else /usr/share/grafana)."""
    prometheus_port: int = 9090
    """The port of Prometheus on 127.0.0.1."""
    grafana_port: int = 3000
    """The port of Grafana on 127.0.0.1."""
    keep_days: int = 30
    """Days for which Prometheus keeps its data."""

    def __post_init__(self) -> None:
        locate_fields(self, "discovery", "grafana")
        for name in ("prometheus_port", "grafana_port"):
            port, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            config.require(1024 <= port < 65536, f"{flag} must be 1024 to 65535", port=port)
        config.require(
            self.prometheus_port != self.grafana_port,
            "--prometheus-port and --grafana-port must differ",
            port=self.grafana_port,
        )
        config.require_positive_int(keep_days=self.keep_days)
        if self.discovery is not None and not self.discovery.is_file():
            raise ValueError(f"--discovery {self.discovery}: there is no such file")


class Program(NamedTuple):
    """How to start a program.

    Attributes:
        name: Its name for people.
        command: The command line.
        environment: The environment variables.
        ready: An address that answers once the program has started.
        log: The file that takes its output.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: str
    log: Path


class _StopRequest(Exception):  # noqa: N818  This is a request and no error.
    """A signal asks this command to end."""


def watch_folder() -> Path:
    """Return the folder GENAE_HOME/watch, which only this user can open."""
    return private_folder("watch")


def password_file() -> Path:
    """Return the file of Grafana's password, which only this user can read.

    The first call makes it. Raises ValueError if the file is gone although Grafana already has a
    password.
    """
    path = watch_folder() / "password"
    if not path.exists() and (database := watch_folder() / "grafana" / "grafana.db").exists():
        raise ValueError(
            f"{path} is gone, and Grafana asks for the password that was in it: remove "
            f"{database.parent} to start afresh (the data of Prometheus stays)"
        )
    return secret_file(path, 16)


def prometheus_program(options: Options) -> Program:
    """Return how to start Prometheus on 127.0.0.1. Raises ValueError if it is not installed."""
    program = shutil.which(options.prometheus)
    if program is None:
        raise ValueError(f"there is no {options.prometheus}: {NO_PROMETHEUS}")
    settings = watch_folder() / "prometheus.yml"
    # Prometheus looks for targets.json beside this file.
    shutil.copyfile(HERE / "prometheus.yml", settings)
    address = f"127.0.0.1:{options.prometheus_port}"
    command = [program, f"--config.file={settings}", f"--web.listen-address={address}"]
    command += [f"--storage.tsdb.path={watch_folder() / 'prometheus'}", "--log.level=warn"]
    command += [f"--storage.tsdb.retention.time={options.keep_days}d"]
    log = watch_folder() / "prometheus.log"
    ready = f"http://{address}/-/ready"
    return Program("Prometheus", command, dict(os.environ), ready, log)


def grafana_program(options: Options) -> Program:
    """Return how to start Grafana on 127.0.0.1, with the dashboard and a password of its own.

    Raises ValueError if it is not installed.
    """
    place = _grafana_folder(options)
    program = place / "bin" / "grafana"
    if not program.exists():  # Homebrew has bin/ in another folder.
        program = Path(shutil.which("grafana") or program)
    # From Grafana 13.2 on, the data source Prometheus is a bundled plugin. The deb and rpm
    # packages put these plugins into another folder.
    bundled = place / "data" / "plugins-bundled"
    if not bundled.exists() and place == PACKAGED:
        bundled = Path("/var/lib/grafana/plugins-bundled")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GF_")}
    environment |= {
        "GENAE_GRAFANA": str(HERE),
        "GENAE_GRAFANA_DATA": str(watch_folder() / "grafana"),
        "GENAE_GRAFANA_BUNDLED": str(bundled),
        "GENAE_GRAFANA_PORT": str(options.grafana_port),
        "GENAE_PROMETHEUS_PORT": str(options.prometheus_port),
        "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{password_file()}}}",
    }
    command = [str(program), "server", f"--homepath={place}", f"--config={HERE / 'grafana.ini'}"]
    ready = f"http://127.0.0.1:{options.grafana_port}/api/health"
    return Program("Grafana", command, environment, ready, watch_folder() / "grafana.log")


def read_targets(options: Options) -> list[dict[str, Any]]:
    """Return the targets that Ray lists for Prometheus, or an empty list if no Ray is up.

    Raises ValueError if the file holds anything else.
    """
    path = options.discovery
    if path is None:
        local = node.running_node()
        if local is None:
            return []
        path = Path(local.scratch) / "ray" / DISCOVERY_FILE
    try:
        entries = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    valid = isinstance(entries, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("targets"), list) for entry in entries
    )
    if not valid:
        raise ValueError(f"{path} is not the list of targets that Ray writes on a head")
    return [{"targets": entry["targets"]} for entry in entries]


def watch(options: Options) -> int:
    """Run both programs until Ctrl-C, and keep their list of targets equal to Ray's.

    Raises ValueError if one is not installed, its port is in use, or it does not start or ends.
    """
    _copy_targets(options)
    programs = [prometheus_program(options), grafana_program(options)]
    node.check_port("--prometheus-port", options.prometheus_port)
    node.check_port("--grafana-port", options.grafana_port)
    signal.signal(signal.SIGTERM, _request_stop)
    signal.signal(signal.SIGHUP, _request_stop)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            running.append(_start(program))
            _wait(program, running[-1])
        print(f"see it:   http://127.0.0.1:{options.grafana_port}/d/genae-sweep")
        print(f"log in:   admin, with the password in {password_file()}")
        if options.discovery is None and node.running_node() is None:
            print(f"no node is up yet: {command_line('node', 'up')}")
        print("Ctrl-C ends it", flush=True)
        while True:
            time.sleep(POLL_S)
            for program, process in zip(programs, running, strict=True):
                if process.poll() is not None:
                    raise ValueError(f"{program.name} has ended: {_last_line(program)}")
            with suppress(ValueError):  # The last good list stays.
                _copy_targets(options)
    except (KeyboardInterrupt, _StopRequest):
        print(f"ended; the data is kept in {watch_folder()}")
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # The end takes STOP_S at most.
        _stop(running)


def _copy_targets(options: Options) -> None:
    """Write the targets to a file of our own, from which Prometheus reads them.

    The path of Ray's file changes each time the node of `genae node` starts.
    """
    text = json.dumps(read_targets(options))
    path = watch_folder() / "targets.json"
    if not path.exists() or path.read_text() != text:
        durable.write(path, text)


def _grafana_folder(options: Options) -> Path:
    """Return the folder of Grafana. Raises ValueError if it is not installed."""
    if options.grafana is not None:
        places = [options.grafana]
    else:
        command = shutil.which("grafana")
        unpacked = Path(command).resolve().parents[1] if command else PACKAGED
        places = [unpacked, unpacked / "share" / "grafana", PACKAGED]
    for place in places:
        if (place / "conf" / "defaults.ini").is_file():
            return place
    raise ValueError(f"there is no Grafana in {places[0]}: {NO_GRAFANA}")


def _start(program: Program) -> subprocess.Popen[bytes]:
    """Start a program, with its output appended to its log."""
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.command,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches only this process
        )


def _wait(program: Program, process: subprocess.Popen[bytes]) -> None:
    """Wait until the program answers. Raises ValueError if it ends, or is silent for START_S."""
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without any proxy
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), local.open(program.ready, timeout=5):
            return
        time.sleep(0.2)
    raise ValueError(f"{program.name} did not start: {_last_line(program)}")


def _last_line(program: Program) -> str:
    """Return the last line of a program's log, and where the log is."""
    lines = program.log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'its log is empty'} ({program.log})"


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """End the programs, and kill those that take longer than STOP_S."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _request_stop(*signal_and_frame: object) -> NoReturn:
    """Handle a signal."""
    raise _StopRequest


def main(options: Options) -> int:
    """Watch, unless another watch.py runs, because both would write to the same folder."""
    try:
        with FileLock(watch_folder() / "lock", timeout=0):
            return watch(options)
    except Timeout:
        raise ValueError("another watch.py is already running: end it first") from None
