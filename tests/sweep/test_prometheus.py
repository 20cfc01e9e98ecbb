"""What a sweep tells Prometheus arrives there, and hurts nobody where there is none."""

import os
import subprocess
import sys

import pytest

from genae_core.cluster.batch_node import free_port
from genae_core.sweep.prometheus import METERS, observe

TELL = """
import sys, time, urllib.request
import ray
from genae_core.sweep import prometheus
from genae_core.sweep.prometheus import METERS, Reminder, observe
port = int(sys.argv[1])
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _metrics_export_port=port)
for name, about in METERS.items():
    observe(name, 2.5, **{label: f"a_{label}" for label in about.labels})
observe("genae_trials", 1.0, state="of a β-VAE")  # what Ray cannot encode
prometheus.REPEAT_S = 0.3
reminder, began, text = Reminder(), time.monotonic(), ""
# Longer than Ray keeps a gauge that is set once: two reports, here of 0.5 s, and its own 2 s.
while not all(f"ray_{name}" in text for name in METERS) or time.monotonic() - began < 5:
    assert time.monotonic() - began < 60, text
    time.sleep(0.2)
    reminder.tick()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        pass
print("".join(line + chr(10) for line in text.splitlines() if "genae" in line))
"""


@pytest.mark.slow
def test_every_meter_arrives_at_prometheus() -> None:
    port = free_port("127.0.0.1")
    done = subprocess.run(
        [sys.executable, "-c", TELL, str(port)],
        env={**os.environ, "RAY_metrics_report_interval_ms": "500"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    for name, about in METERS.items():
        # A counter may end in _total; Ray's histograms count, and know their sum by buckets.
        ends = {"Counter": ("", "_total"), "Gauge": ("",), "Histogram": ("_count",)}[about.kind]
        starts = tuple(f"ray_{name}{end}{{" for end in ends)
        value = " 1.0" if about.kind == "Histogram" else " 2.5"
        labels = [f'{label}="a_{label}"' for label in about.labels]
        assert any(
            line.startswith(starts) and line.endswith(value) and all(map(line.count, labels))
            for line in done.stdout.splitlines()
        ), f"{name} is not in\n{done.stdout}"
    assert 'state="of a beta-VAE"' in done.stdout


def test_no_label_names_a_trial_or_a_step() -> None:
    labels = {label for about in METERS.values() for label in about.labels}
    assert labels == {"state", "family", "dataset"}


def test_without_ray_nothing_is_told_and_nothing_breaks() -> None:
    observe("genae_checkpoints", 1)
    with pytest.raises(KeyError):
        observe("genae_unheard_of", 1)
