"""The dashboard asks only for what is told, and watch.py opens nothing and leaves nothing."""

import importlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from genae_core.cluster.batch_node import free_port
from genae_core.sweep.prometheus import METERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "genae_core" / "report" / "grafana"
WATCH = ROOT / "dashboards" / "grafana" / "watch.py"
BOARD = json.loads((FOLDER / "sweep.json").read_text())
TARGETS = [
    pytest.param(panel, target, id=f"{panel['title']} {target['refId']}")
    for panel in BOARD["panels"]
    for target in panel["targets"]
]
# What of Ray's a node tells only when it has a GPU, or a node comes or fails.
AT_TIMES = {
    "ray_node_gpus_utilization",
    "ray_node_gram_used",
    "ray_node_gram_available",
    "ray_cluster_pending_nodes",
    "ray_cluster_failed_nodes",
}
EXPORT = """
import json, re, sys, time, urllib.request
import ray
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from genae_core.sweep.prometheus import METERS, observe
port = int(sys.argv[1])
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _metrics_export_port=port)
deadline, seen = time.monotonic() + 60, {}
awaited = [f"ray_{name}" for name in METERS] + ["ray_node_mem_used", "ray_cluster_active_nodes"]
while time.monotonic() < deadline:
    for name, about in METERS.items():  # a gauge that is not told again is soon forgotten
        observe(name, 2.5, **{label: f"a_{label}" for label in about.labels})
    time.sleep(0.5)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        continue
    for name, labels in re.findall(r"^(\\w+)\\{(.*)\\} ", text, re.MULTILINE):
        seen.setdefault(name, set()).update(re.findall(r'(\\w+)="', labels))
    if all(any(name.startswith(part) for name in seen) for part in awaited):
        break
seen = {name: sorted(labels) for name, labels in seen.items()}
defined = {f"ray_{name}": gauge.view.columns for name, gauge in METRICS_GAUGES.items()}
print(json.dumps({"seen": seen, "defined": defined}))
"""
TOKEN = re.compile(
    r'"[^"]*"|\[[^\]]*\]|\$\w+|[a-zA-Z_:][\w:]*|\d+(?:\.\d+)?|=~|!~|!=|[<>=]=?|[-+*/(){},]|\s+'
)
FUNCTIONS = {"sum", "min", "avg", "count", "histogram_quantile", "max_over_time", "sum_over_time"}
JOINS = {"or", "and", "unless", "offset", "bool"}
ADDED_BY_PROMETHEUS = {"instance", "job"}


def is_word(token: str) -> bool:
    return token[0].isalpha() or token[0] == "_"


def complaints(expression: str, legend: str, catalogue: dict[str, set[str]]) -> list[str]:
    """What the expression and its legend name that the catalogue (labels by metric) has not."""
    tokens = TOKEN.findall(expression)
    if "".join(tokens) != expression:
        return [f"cannot be read: {expression}"]
    tokens = [token for token in tokens if not token.isspace()] + [""]
    found, grouped, metrics, close = [], set(), set(), 0
    for position, (token, following) in enumerate(zip(tokens, tokens[1:], strict=False)):
        if position < close or not is_word(token):
            continue
        if token == "by":
            close = tokens.index(")", position)
            grouped |= {word for word in tokens[position:close] if is_word(word)} - {"by"}
        elif following in ("(", "by"):
            found += [f"no function {token}"] if token not in FUNCTIONS | JOINS else []
        elif token not in JOINS:
            metrics.add(token)
            if token not in catalogue:
                found.append(f"no metric {token}")
            if following == "{":
                close = tokens.index("}", position)
                asked = {word for word in tokens[position + 1 : close] if is_word(word)}
                wrong = asked - catalogue.get(token, asked) - ADDED_BY_PROMETHEUS
                found += [f"{token} has no label {label}" for label in sorted(wrong)]
    known = set.intersection(*(catalogue.get(metric, set()) for metric in metrics))
    found += [f"no label {label}" for label in sorted(grouped - known - ADDED_BY_PROMETHEUS)]
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    return found + [f"the legend's {label} is summed over" for label in sorted(shown - grouped)]


@pytest.fixture(scope="module")
def exported() -> dict[str, dict[str, set[str]]]:
    """What a running Ray with genae's meters tells, and what Ray defines; labels by metric."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXPORT, str(free_port())],
        env={**os.environ, "RAY_metrics_report_interval_ms": "500"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        kind: {name: set(labels) for name, labels in metrics.items()}
        for kind, metrics in told.items()
    }


@pytest.fixture(scope="module")
def catalogue(exported: dict[str, dict[str, set[str]]]) -> dict[str, set[str]]:
    at_times = {name: exported["defined"][name] for name in AT_TIMES}
    return {**at_times, **exported["seen"]}


@pytest.mark.parametrize(("panel", "target"), TARGETS)
def test_a_panel_names_only_what_ray_really_exports(
    panel: dict[str, Any], target: dict[str, Any], catalogue: dict[str, set[str]]
) -> None:
    assert complaints(target["expr"], target["legendFormat"], catalogue) == []


@pytest.mark.parametrize(
    ("expression", "legend", "complaint"),
    [
        ("sum(ray_genae_trails)", "", "no metric ray_genae_trails"),
        ("sum(genae_trials)", "", "no metric genae_trials"),
        ("sum(ray_genae_checkpoints)", "", "no metric ray_genae_checkpoints"),
        ("sum(ray_genae_epoch_seconds)", "", "no metric ray_genae_epoch_seconds"),
        ('sum(ray_genae_trials{sweep="a"})', "", "ray_genae_trials has no label sweep"),
        ("sum by (trial) (ray_genae_trials)", "", "no label trial"),
        ("sum by (state) (ray_genae_trials)", "{{family}}", "the legend's family is summed over"),
        ("summe(ray_genae_trials)", "", "no function summe"),
        ("sum(ray_genae_trials) # x", "", "cannot be read: sum(ray_genae_trials) # x"),
    ],
)
def test_wrong_expressions_are_reported(
    expression: str, legend: str, complaint: str, catalogue: dict[str, set[str]]
) -> None:
    assert complaints(expression, legend, catalogue) == [complaint]


def test_every_meter_is_in_a_panel() -> None:
    ends = {"Gauge": "", "Counter": "_total", "Histogram": "_bucket"}
    asked = " ".join(target.values[1]["expr"] for target in TARGETS)
    missing = {n for n, m in METERS.items() if f"ray_{n}{ends[m.kind]}{{" not in asked}
    assert missing == set()


def test_the_variables_name_existing_metrics_and_labels(catalogue: dict[str, set[str]]) -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    session = variables["session"]
    assert session["query"]["query"] == session["definition"]
    metric, label = re.findall(r"\w+", session["definition"])[1:]
    assert label in catalogue[metric]
    asked = json.dumps([BOARD["panels"], BOARD["templating"]])
    used = set(re.findall(r"\$\{?(\w+)", asked)) - {"__range", "__all"}
    assert used == set(variables)
    assert variables["price"]["current"]["value"] == "0"


def test_every_panel_says_what_it_shows_and_none_covers_another() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_the_dashboard_reads_the_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load(
        (FOLDER / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    )
    (source,) = provisioned["datasources"]
    (variable,) = [v for v in BOARD["templating"]["list"] if v["type"] == "datasource"]
    assert variable["current"]["value"] == source["uid"]
    uids = {panel["datasource"]["uid"] for panel in BOARD["panels"]}
    assert uids == {f"${{{variable['name']}}}"}
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]


def test_grafana_is_on_loopback_asks_for_a_password_and_calls_nobody() -> None:
    ini = (FOLDER / "grafana.ini").read_text()
    section, settings = "", {}
    for line in ini.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line and not line.startswith(";"):
            key, value = line.split(" = ")
            settings[f"{section}.{key}"] = value
    assert settings["server.http_addr"] == "127.0.0.1"
    assert settings["auth.anonymous.enabled"] == "false"
    assert settings["plugins.preinstall_disabled"] == "true"
    assert {v for k, v in settings.items() if k.startswith("analytics.")} == {"false"}
    assert "password" not in ini.replace("watch.py gives the password", "")
    given = set(re.findall(r"GENAE_\w+", ini))
    for path in (FOLDER / "provisioning").glob("*/*.yaml"):
        given |= set(re.findall(r"\$(GENAE_\w+)", path.read_text()))
        assert not re.search(r"0\.0\.0\.0|localhost|https", path.read_text())
    body = (ROOT / "genae_core" / "commands" / "watch.py").read_text()
    assert all(f'"{name}":' in body for name in given)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_prometheus_itself_can_read_the_expressions_and_the_settings(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": filled(target.values[1]["expr"])}
        for number, target in enumerate(TARGETS)
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    (tmp_path / "targets.json").write_text("[]")
    shutil.copy(FOLDER / "prometheus.yml", tmp_path)
    for words in (["rules", "rules.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(
            ["promtool", "check", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout


def filled(expression: str) -> str:
    """As Grafana asks it, of the last ten minutes and at a price."""
    for name, value in {
        "$session": ".+",
        "$window": "10m",
        "$__range": "10m",
        "$price": "2",
    }.items():
        expression = expression.replace(name, value)
    return expression


STAND_IN = """
import http.server, json, os, signal, sys
address = [w.split("=")[1] for w in sys.argv if w.startswith("--web.listen-address=")]
port = int(address[0].split(":")[1] if address else os.environ["GENAE_GRAFANA_PORT"])
print("no disk for it" if "DIE" in os.environ else "started", flush=True)
if "DIE" in os.environ:
    sys.exit(1)
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps({"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid()}) + "\\n")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


class Stage:
    """A GENAE_HOME, and two programs that stand in for Prometheus and Grafana."""

    def __init__(self, folder: Path) -> None:
        self.home, self.record = folder / "home", folder / "record"
        self.grafana = folder / "grafana"
        self.prometheus = folder / "prometheus"
        (self.grafana / "bin").mkdir(parents=True)
        (self.grafana / "conf").mkdir()
        (self.grafana / "conf" / "defaults.ini").touch()
        for program in (self.prometheus, self.grafana / "bin" / "grafana"):
            program.write_text(f"#!{sys.executable}\n{STAND_IN}")
            program.chmod(0o755)
        self.ports = (free_port(), free_port())

    def words(self, *more: str, prometheus: str = "") -> list[str]:
        ports = [f"--prometheus-port={self.ports[0]}", f"--grafana-port={self.ports[1]}"]
        programs = [f"--prometheus={prometheus or self.prometheus}", f"--grafana={self.grafana}"]
        return [sys.executable, str(WATCH), *ports, *programs, *more]

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "GENAE_HOME": str(self.home), "RECORD": str(self.record), **more}

    def refused(self, *words: str, **more: str) -> str:
        """What it says where it ends at once, with 2."""
        done = subprocess.run(
            words or self.words(),
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    @contextmanager
    def watching(self, *more: str, **how: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            self.words(*more, **how),
            env=self.environment(GF_AUTH_ANONYMOUS_ENABLED="true"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell that was sent to the background has it ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def until_ready(process: subprocess.Popen[str]) -> str:
    """What it said until it was ready."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C ends it" in line:
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_both_start_on_loopback_and_end_with_it(stage: Stage, how: signal.Signals) -> None:
    before = os.umask(0)
    try:
        with stage.watching() as process:
            said = until_ready(process)
            process.send_signal(how)
            rest = process.communicate(timeout=30)[0]
    finally:
        os.umask(before)
    assert process.returncode == 0 and "Traceback" not in rest
    assert "no node is up yet" in said and f":{stage.ports[1]}/d/{BOARD['uid']}" in said
    prometheus, grafana = stage.runs()
    for run in (prometheus, grafana):
        with pytest.raises(ProcessLookupError):
            os.kill(run["pid"], 0)
    assert f"--web.listen-address=127.0.0.1:{stage.ports[0]}" in prometheus["argv"]
    kept = stage.home / "watch"
    assert f"--storage.tsdb.path={kept / 'prometheus'}" in prometheus["argv"]
    secret = kept / "password"
    assert secret.stat().st_mode & 0o777 == 0o600 and kept.stat().st_mode & 0o777 == 0o700
    password = secret.read_text()
    assert len(password) == 32 and password not in said + rest + json.dumps(stage.runs())
    told = {k: v for k, v in grafana["env"].items() if k.startswith("GF_")}
    assert told == {"GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{secret}}}"}
    with stage.watching() as process:
        until_ready(process)
    assert secret.read_text() == password


def test_the_list_of_targets_follows_rays(stage: Stage, tmp_path: Path) -> None:
    """Also over a moment in which it cannot be read; of a Ray that is gone nothing is left."""
    told, followed = tmp_path / "ray.json", stage.home / "watch" / "targets.json"

    def shows(targets: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + 20
        while json.loads(followed.read_text()) != targets:
            assert time.monotonic() < deadline, followed.read_text()
            time.sleep(0.1)

    told.write_text('[{"labels": {"job": "ray"}, "targets": ["127.0.0.1:1"]}]')
    with stage.watching(f"--discovery={told}") as process:
        assert "no node is up" not in until_ready(process)
        shows([{"targets": ["127.0.0.1:1"]}])
        told.write_text("[")
        time.sleep(3)
        shows([{"targets": ["127.0.0.1:1"]}])
        told.write_text('[{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}]')
        shows([{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}])
        told.unlink()
        shows([])


def test_missing_programs_used_ports_and_wrong_files_are_reported(
    stage: Stage, tmp_path: Path
) -> None:
    assert "prometheus.io/download" in stage.refused(*stage.words(prometheus="no-such-program"))
    assert "grafana.com/grafana/download" in stage.refused(*stage.words("--grafana=/nowhere"))
    assert "no such file" in stage.refused(*stage.words("--discovery=/nowhere.json"))
    assert "must be 1024" in stage.refused(*stage.words("--grafana-port=80"))
    same = f"--grafana-port={stage.ports[0]}"
    assert "must differ" in stage.refused(*stage.words(same))
    assert ">= 1" in stage.refused(*stage.words("--keep-days=0"))
    for wrong in ("{}", "[1]", '[{"targets": "x"}]', "["):
        (tmp_path / "wrong.json").write_text(wrong)
        said = stage.refused(*stage.words(f"--discovery={tmp_path / 'wrong.json'}"))
        assert "wrong.json" in said
    with socket.socket() as other:
        other.bind(("127.0.0.1", stage.ports[1]))
        other.listen()
        assert f"port {stage.ports[1]} is in use: give another --grafana-port" in stage.refused()
    assert "Prometheus did not start: no disk for it" in stage.refused(DIE="1")
    assert not stage.record.exists()


def test_a_second_watch_and_a_lost_password_are_refused(stage: Stage) -> None:
    with stage.watching() as process:
        until_ready(process)
        assert "is already running" in stage.refused()
        grafana = stage.runs()[1]
        os.kill(grafana["pid"], signal.SIGKILL)
        assert "Grafana has ended" in process.communicate(timeout=30)[0]
    assert process.returncode == 2
    (stage.home / "watch" / "grafana").mkdir()
    (stage.home / "watch" / "grafana" / "grafana.db").touch()
    (stage.home / "watch" / "password").unlink()
    assert "is gone, and Grafana asks for the password" in stage.refused()


@pytest.fixture
def node(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A node of cluster/local, up while the test runs."""
    monkeypatch.setenv("GENAE_HOME", str(stage.home))
    monkeypatch.syspath_prepend(str(ROOT))
    script = [sys.executable, str(ROOT / "cluster" / "local" / "node.py")]
    flags = ["--num-cpus=1", "--num-gpus=0", f"--dashboard-port={free_port()}"]
    # These two ports of Ray's are fixed, and another Ray on this machine may have them.
    ports = {f"{name}_METRIC_PORT": str(free_port()) for name in ("AUTOSCALER", "DASHBOARD")}
    done = subprocess.run(
        [*script, "up", *flags], capture_output=True, text=True, env={**os.environ, **ports}
    )
    assert done.returncode == 0, done.stderr
    try:
        yield importlib.import_module("cluster.local.node")
    finally:
        subprocess.run([*script, "down"], check=True, capture_output=True)


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no Prometheus")
def test_a_sweep_on_the_local_node_fills_the_panels(stage: Stage, node: ModuleType) -> None:
    """With a real Prometheus; a program stands in for Grafana."""
    without = {"GPUs of each node A", "GPU memory of each node A"}  # where there is none
    with stage.watching(prometheus="prometheus") as process:
        assert "no node is up" not in until_ready(process)
        sweep = ["sweeps/latent_dim.py", "--smoke", "--families", "vae", "--latent-dims", "2", "8"]
        # Long enough that Ray, which asks a worker every 10 s, hears of its epochs.
        sweep += ["--checkpoint-seconds", "0", "--epochs", "300"]
        submit = [sys.executable, "jobs/submit.py", "--allow-dirty", "--", *sweep]
        done = subprocess.run(submit, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 60
        while (empty := unfilled(stage.ports[0])) - without and time.monotonic() < deadline:
            time.sleep(5)
        listening = subprocess.run(["ss", "-tlnH"], capture_output=True, text=True, check=True)
        places = [row.split()[3] for row in listening.stdout.splitlines()]
        for port in stage.ports:
            assert {p for p in places if p.endswith(f":{port}")} == {f"127.0.0.1:{port}"}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert empty <= without


def unfilled(port: int) -> set[str]:
    """The panels' expressions for which Prometheus has no number in the last ten minutes."""
    empty, now = set(), time.time()
    for parameter in TARGETS:
        asked = filled(parameter.values[1]["expr"])
        about = {"query": asked, "start": now - 600, "end": now, "step": 5}
        address = f"http://127.0.0.1:{port}/api/v1/query_range?{urllib.parse.urlencode(about)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            series = json.load(answer)["data"]["result"]
        numbers = [float(value) for one in series for _, value in one["values"]]
        if not any(math.isfinite(number) for number in numbers):
            empty.add(str(parameter.id))
    return empty
