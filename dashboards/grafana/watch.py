"""Prometheus and Grafana on this machine, to watch a running sweep; Ctrl-C ends both.

Without --discovery they show the node of cluster/local/node.py, whenever it is up. Both listen on
127.0.0.1 alone. What they gather is kept in GENAE_HOME/watch.

  python dashboards/grafana/watch.py
  python dashboards/grafana/watch.py --discovery /tmp/ray/prom_metrics_service_discovery.json
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from filelock import FileLock, Timeout

from genae_core import config
from genae_core.cluster import local_node as node
from genae_core.config.cli import cli
from genae_core.config.home import private_folder, secret_file

HERE = Path(__file__).resolve().parent
UP_S = 180  # an answer, also on a busy machine
DOWN_S = 20  # Prometheus writes what it holds in memory
EVERY_S = 2.0
WRITTEN_BY_RAY = "prom_metrics_service_discovery.json"  # below its --temp-dir, on the head
PACKAGED = Path("/usr/share/grafana")  # of Grafana's deb and rpm
NO_PROMETHEUS = (
    "install it (apt-get install prometheus, brew install prometheus, or an archive of "
    "prometheus.io/download) or give --prometheus; a service that the package starts listens on "
    "every interface: systemctl disable --now prometheus"
)
NO_GRAFANA = (
    "install it (grafana.com/grafana/download, brew install grafana) or give --grafana, the "
    "folder of an unpacked archive"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this script."""

    discovery: Path | None = None
    """File in which a cluster's head lists what to gather (default: that of the node of
    cluster/local, also of one that is started later)."""
    prometheus: str = "prometheus"
    """Prometheus, as a command or a path."""
    grafana: Path | None = None
    """Folder of Grafana, with its bin/ and conf/ (default: that of the command grafana, else
    /usr/share/grafana)."""
    prometheus_port: int = 9090
    """Port of Prometheus, on 127.0.0.1."""
    grafana_port: int = 3000
    """Port of Grafana, on 127.0.0.1."""
    keep_days: int = 30
    """Days after which Prometheus forgets."""

    def __post_init__(self) -> None:
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
    """ready: an address that answers once it has started. log: what it said."""

    name: str
    words: list[str]
    environment: dict[str, str]
    ready: str
    log: Path


class _Ended(Exception):  # noqa: N818  no error: somebody asked for it
    """Ctrl-C, or a signal that asks for the end."""


def folder() -> Path:
    """GENAE_HOME/watch, which only this user can open."""
    return private_folder("watch")


def password_file() -> Path:
    """The file of Grafana's password, made at the first call; no one else can read it.

    Raises ValueError where it is gone, and Grafana knows a password already.
    """
    path = folder() / "password"
    if not path.exists() and (database := folder() / "grafana" / "grafana.db").exists():
        raise ValueError(
            f"{path} is gone, and Grafana asks for the password that was in it: remove "
            f"{database.parent} to have it begin anew (what Prometheus gathered stays)"
        )
    return secret_file(path, 16)


def prometheus(options: Options) -> Program:
    """Prometheus on 127.0.0.1. Raises ValueError where it is not installed."""
    program = shutil.which(options.prometheus)
    if program is None:
        raise ValueError(f"there is no {options.prometheus}: {NO_PROMETHEUS}")
    settings = folder() / "prometheus.yml"
    shutil.copyfile(HERE / "prometheus.yml", settings)  # it looks for targets.json beside it
    address = f"127.0.0.1:{options.prometheus_port}"
    words = [program, f"--config.file={settings}", f"--web.listen-address={address}"]
    words += [f"--storage.tsdb.path={folder() / 'prometheus'}", "--log.level=warn"]
    words += [f"--storage.tsdb.retention.time={options.keep_days}d"]
    log = folder() / "prometheus.log"
    return Program("Prometheus", words, dict(os.environ), f"http://{address}/-/ready", log)


def grafana(options: Options) -> Program:
    """Grafana on 127.0.0.1, with the dashboard and its own password. Raises ValueError where it
    is not installed."""
    place = _grafana_folder(options)
    program = place / "bin" / "grafana"
    if not program.exists():  # Homebrew's bin/ is elsewhere
        program = Path(shutil.which("grafana") or program)
    # From 13.2 on the Prometheus source is such a plugin, which the packages put elsewhere.
    bundled = place / "data" / "plugins-bundled"
    if not bundled.exists() and place == PACKAGED:
        bundled = Path("/var/lib/grafana/plugins-bundled")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GF_")}
    environment |= {
        "GENAE_GRAFANA": str(HERE),
        "GENAE_GRAFANA_DATA": str(folder() / "grafana"),
        "GENAE_GRAFANA_BUNDLED": str(bundled),
        "GENAE_GRAFANA_PORT": str(options.grafana_port),
        "GENAE_PROMETHEUS_PORT": str(options.prometheus_port),
        "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{password_file()}}}",
    }
    words = [str(program), "server", f"--homepath={place}", f"--config={HERE / 'grafana.ini'}"]
    ready = f"http://127.0.0.1:{options.grafana_port}/api/health"
    return Program("Grafana", words, environment, ready, folder() / "grafana.log")


def targets(options: Options) -> list[dict[str, Any]]:
    """What Ray lists for Prometheus to gather; nothing where no Ray is up.

    Raises ValueError where the file holds something else.
    """
    path = options.discovery
    if path is None:
        up = node.running()
        if up is None:
            return []
        path = Path(up.scratch) / "ray" / WRITTEN_BY_RAY
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    listed = isinstance(found, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("targets"), list) for entry in found
    )
    if not listed:
        raise ValueError(f"{path} is not the list of targets that Ray writes on a head")
    return [{"targets": entry["targets"]} for entry in found]


def watch(options: Options) -> int:
    """Start both, and keep the list of targets as Ray's, until Ctrl-C. Raises ValueError where one
    is not installed, its port is taken, or it does not start or stay."""
    _follow(options)
    programs = [prometheus(options), grafana(options)]
    node.check_free("--prometheus-port", options.prometheus_port)
    node.check_free("--grafana-port", options.grafana_port)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for program in programs:
            running.append(_start(program))
            _wait(program, running[-1])
        print(f"see it:   http://127.0.0.1:{options.grafana_port}/d/genae-sweep")
        print(f"log in:   admin, with the password in {password_file()}")
        if options.discovery is None and node.running() is None:
            print("no node is up yet: python cluster/local/node.py up")
        print("Ctrl-C ends it", flush=True)
        while True:
            time.sleep(EVERY_S)
            for program, process in zip(programs, running, strict=True):
                if process.poll() is not None:
                    raise ValueError(f"{program.name} has ended: {_said(program)}")
            with suppress(ValueError):  # the last good list stays
                _follow(options)
    except (KeyboardInterrupt, _Ended):
        print(f"ended; what was gathered is kept in {folder()}")
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it is ending, DOWN_S at most
        _stop(running)


def _follow(options: Options) -> None:
    """The node of cluster/local has another folder each time it is up, so Prometheus is given a
    file of ours."""
    text = json.dumps(targets(options))
    path = folder() / "targets.json"
    if not path.exists() or path.read_text() != text:
        new = folder() / "targets.json.new"
        new.write_text(text)
        new.replace(path)


def _grafana_folder(options: Options) -> Path:
    if options.grafana is not None:
        places = [options.grafana.absolute()]
    else:
        found = shutil.which("grafana")
        unpacked = Path(found).resolve().parents[1] if found else PACKAGED
        places = [unpacked, unpacked / "share" / "grafana", PACKAGED]
    for place in places:
        if (place / "conf" / "defaults.ini").is_file():
            return place
    raise ValueError(f"there is no Grafana in {places[0]}: {NO_GRAFANA}")


def _start(program: Program) -> subprocess.Popen[bytes]:
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.words,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )


def _wait(program: Program, process: subprocess.Popen[bytes]) -> None:
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, never a proxy
    deadline = time.monotonic() + UP_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), local.open(program.ready, timeout=5):
            return
        time.sleep(0.2)
    raise ValueError(f"{program.name} did not start: {_said(program)}")


def _said(program: Program) -> str:
    lines = program.log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it said nothing'} ({program.log})"


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.terminate()
    deadline = time.monotonic() + DOWN_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end(*signal_and_frame: object) -> NoReturn:
    raise _Ended


def main(options: Options) -> int:
    """One at a time: both keep their data in the same place."""
    try:
        with FileLock(folder() / "lock", timeout=0):
            return watch(options)
    except Timeout:
        raise ValueError("it runs already: end that one first") from None


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
