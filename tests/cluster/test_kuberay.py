"""KubeRay's manifests: their schema, and that each check can fail."""

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kube_checks
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "cluster" / "kuberay"
VALUES = {
    "raycluster": {"Image": "registry/genae@sha256:" + "0" * 64},
    "rayjob": {
        "Image": "registry/genae:1.0",
        "Name": "mnist-1",
        "Bucket": "s3://bucket",
        "TrackingUri": "http://mlflow:5000",
    },
}


def filled(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.syspath_prepend(str(ROOT))
    fill = importlib.import_module("cluster.fill").fill
    return list(yaml.safe_load_all(fill((FOLDER / f"{kind}.yaml").read_text(), VALUES[kind])))


@pytest.mark.parametrize("kind", ["raycluster", "rayjob"])
def test_the_manifest_has_no_fault(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kube_checks.faults(filled(kind, monkeypatch)) == []


def test_the_job_runs_a_study_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """With flags that it has."""
    job = filled("rayjob", monkeypatch)[0]["spec"]
    python, script, *flags = job["entrypoint"].split()
    path = Path(script).relative_to("/home/ray/genae")
    assert python == "python" and (ROOT / path).is_file()
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text()
    assert "WORKDIR /home/ray/genae" in dockerfile and f" {path.parts[0]} " in dockerfile
    monkeypatch.syspath_prepend(str(ROOT / "sweeps"))
    options = importlib.import_module(path.stem).Options.__dataclass_fields__
    names = [flag.removeprefix("--").replace("-", "_") for flag in flags if flag[:2] == "--"]
    assert len(names) > 5 and set(names) <= set(options)
    at_once = int(flags[flags.index("--trials-in-parallel") + 1])
    group = job["rayClusterSpec"]["workerGroupSpecs"][0]
    assert at_once == group["maxReplicas"]  # a GPU and a pod each
    cpus = group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    assert flags[flags.index("--cpus-per-trial") + 1] == cpus


Change = Callable[[list[Any]], None]


def put(path: str, value: Any) -> Change:
    def change(documents: list[Any]) -> None:
        *way, last = path.split(".")
        place: Any = documents
        for key in way:
            place = place[int(key)] if isinstance(place, list) else place[key]
        if value is None:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return change


POD = "SPEC.workerGroupSpecs.0.template.spec"
BOX = f"{POD}.containers.0"
BOTH = [
    ("0.kind", "RayThing", "is not KubeRay's"),
    ("0.apiVersion", "ray.io/v1alpha1", "apiVersion: not ray.io/v1"),
    ("0.spec.nonsense", 1, ".spec.nonsense: unknown field"),
    (f"{BOX}.nonsense", 1, ".containers[0].nonsense: unknown field"),
    (f"{BOX}.resources.limits.cpu", [], "is not valid under any"),
    ("SPEC.headGroupSpec.template", None, "'template' is a required property"),
    ("SPEC.workerGroupSpecs.0.minReplicas", "0", "is not of type 'integer'"),
    ("0.metadata.name", "Genae", "is not a DNS label"),
    ("0.metadata.name", "g" * 54, "is not a DNS label"),
    ("SPEC.authOptions", None, "authOptions: no token"),
    ("SPEC.authOptions.mode", "disabled", "authOptions: no token"),
    ("SPEC.rayVersion", "2.51.0", "authOptions: no token"),
    ("SPEC.autoscalerOptions.version", "v1", "no autoscaler v2"),
    ("SPEC.enableInTreeAutoscaling", False, "no autoscaler v2"),
    ("SPEC.autoscalerOptions.idleTimeoutSeconds", 86400, "idleTimeoutSeconds"),
    ("SPEC.autoscalerOptions.securityContext", None, "autoscaler: may gain privileges"),
    ("SPEC.headGroupSpec.serviceType", "LoadBalancer", "open to the outside"),
    ("SPEC.headGroupSpec.rayStartParams.num-cpus", "8", "the head runs trials"),
    ("SPEC.workerGroupSpecs.0.minReplicas", 1, "workers that stay"),
    ("SPEC.workerGroupSpecs.0.minReplicas", -1, "workers that stay"),
    ("SPEC.workerGroupSpecs.0.maxReplicas", 100, "maxReplicas not in"),
    (f"{POD}.affinity", None, "not spot"),
    (f"{POD}.tolerations", [], "does not tolerate spot"),
    (f"{POD}.restartPolicy", "Always", "asks for Never"),
    (f"{POD}.securityContext.runAsNonRoot", False, "may run as root"),
    (f"{POD}.securityContext.seccompProfile", None, "no seccomp profile"),
    (f"{POD}.automountServiceAccountToken", True, "speaks to Kubernetes"),
    (f"{POD}.hostNetwork", True, "hostNetwork"),
    (f"{POD}.volumes", [{"name": "x", "hostPath": {"path": "/"}}], "a folder of the node"),
    (f"{BOX}.image", "genae:latest", "another one tomorrow"),
    (f"{BOX}.image", "genae", "another one tomorrow"),
    (f"{BOX}.env", [{"name": "MLFLOW_TRACKING_PASSWORD", "value": "x"}], "is written here"),
    (f"{BOX}.securityContext.allowPrivilegeEscalation", True, "may gain privileges"),
    (f"{BOX}.securityContext.privileged", True, "may gain privileges"),
    (f"{BOX}.securityContext.capabilities.drop", [], "keeps capabilities"),
    (f"{BOX}.resources.requests.cpu", "1", "requests are not its limits"),
    ("1.kind", "Service", "NetworkPolicy: there is not one"),
    ("1.spec.policyTypes", ["Egress"], "does not limit who comes in"),
    ("1.spec.podSelector.matchLabels", {"a": "b"}, "does not cover head"),
    ("1.spec.ingress.0.from", [], "lets in whom it does not name"),
    ("1.spec.ingress.0.from.0", {"ipBlock": {"cidr": "0.0.0.0/0"}}, "whom it does not name"),
    ("1.spec.ingress.2.ports.0.port", 80, "Prometheus cannot read port 8080"),
    ("1.spec.ingress.0.form", [], "ingress[0].form: unknown field"),
    ("1.spec.ingres", [], "NetworkPolicy.ingres: unknown field"),
]
JOB = [
    ("0.metadata.name", "g" * 48, "is not a DNS label"),
    ("0.spec.submissionMode", "InteractiveMode", "none that ends by itself"),
    ("0.spec.submissionMode", "K8sJob", "none that ends by itself"),
    ("0.spec.activeDeadlineSeconds", None, "activeDeadlineSeconds"),
    ("0.spec.activeDeadlineSeconds", 10**6, "activeDeadlineSeconds"),
    ("0.spec.shutdownAfterJobFinishes", False, "the cluster stays"),
    ("0.spec.ttlSecondsAfterFinished", 10**6, "ttlSecondsAfterFinished"),
    ("0.spec.backoffLimit", 3, "paid for again"),
    ("0.spec.clusterSelector", {"a": "b"}, "no cluster of its own"),
    (
        "0.spec.submitterPodTemplate.spec.securityContext.runAsUser",
        0,
        "submitter: securityContext",
    ),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "fault"),
    [("raycluster", *case) for case in BOTH] + [("rayjob", *case) for case in BOTH + JOB],
)
def test_each_check_can_fail(
    kind: str, path: str, value: Any, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = copy.deepcopy(filled(kind, monkeypatch))
    spec = "0.spec" if kind == "raycluster" else "0.spec.rayClusterSpec"
    put(path.replace("SPEC", spec), value)(documents)
    problems = kube_checks.faults(documents)
    assert any(fault in each for each in problems), problems
