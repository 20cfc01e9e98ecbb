"""What is wrong with KubeRay manifests: their schema, what the operator refuses beyond it, and
what would cost or open too much."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

Document = dict[str, Any]

SCHEMAS = Path(__file__).parent / "schemas"
SPOT = {
    "cloud.google.com/gke-spot",
    "eks.amazonaws.com/capacityType",
    "karpenter.sh/capacity-type",
    "kubernetes.azure.com/scalesetpriority",
}
LONGEST = {"RayCluster": 53, "RayJob": 47}  # letters of a name, for those made from it
MOST_WORKERS = 8
LONGEST_JOB = 24 * 3600
METRICS = 8080  # where KubeRay has Ray tell its figures


@cache
def schemas() -> Document:
    """{kind: schema} of KubeRay 1.7.0, with $defs."""
    problems: Document = json.loads((SCHEMAS / "kuberay-1.7.0.json").read_text())
    return problems


def faults(documents: list[Document]) -> list[str]:
    """Every fault of one file."""
    ray, *others = documents
    kind = ray.get("kind", "")
    if kind not in LONGEST:
        return [f"kind: {kind!r} is not KubeRay's"]
    problems = [*_schema(kind, ray), *_name(ray)]
    if problems:
        return problems
    cluster = ray["spec"] if kind == "RayCluster" else ray["spec"]["rayClusterSpec"]
    problems += [*_cluster(cluster)]
    pods = {"head": cluster["headGroupSpec"]["template"]}
    pods |= {g["groupName"]: g["template"] for g in cluster["workerGroupSpecs"]}
    if kind == "RayJob":
        problems += [*_job(ray["spec"])]
        pods |= {"submitter": ray["spec"]["submitterPodTemplate"]}
    for name, pod in pods.items():
        problems += [f"{name}: {fault}" for fault in _pod(pod, name)]
    return problems + [*_policy(others, pods)]


def _schema(kind: str, document: Document) -> Iterator[str]:
    import jsonschema  # noqa: PLC0415

    if document.get("apiVersion") != "ray.io/v1":
        yield "apiVersion: not ray.io/v1"
    whole = {"$defs": _json(schemas()["$defs"]), **_json(schemas()[kind])}
    whole["properties"]["metadata"] = {"type": "object"}
    for error in jsonschema.Draft202012Validator(whole).iter_errors(document):
        yield f"{error.json_path}: {error.message[:120]}"
    yield from _unknown(schemas()[kind], document, "")


def _json(schema: Any) -> Any:
    """As JSON Schema says it: Kubernetes has a word of its own for a number or a text."""
    if isinstance(schema, list):
        return [_json(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _json(value) for key, value in schema.items()}
    if plain.pop("x-kubernetes-int-or-string", False):
        plain.pop("type", None)
        plain["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return plain


def _unknown(schema: Document, value: Any, path: str) -> Iterator[str]:
    """The fields that Kubernetes would drop without a word."""
    schema = _whole(schema)
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == ".metadata":
        return
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from _unknown(schema.get("items", {}), part, f"{path}[{number}]")
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, part in value.items():
            if key in known or isinstance(more, dict):
                yield from _unknown(known.get(key, more), part, f"{path}.{key}")
            elif more is not True:
                yield f"{path}.{key}: unknown field"


def _whole(schema: Document) -> Document:
    """Itself, or what it refers to."""
    if "$ref" not in schema:
        return schema
    problems: Document = schemas()["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return problems


def _name(document: Document) -> Iterator[str]:
    name, most = document["metadata"].get("name", ""), LONGEST[document["kind"]]
    if not re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", name) or len(name) > most:
        yield f"metadata.name: {name!r} is not a DNS label of at most {most} letters"


def _cluster(spec: Document) -> Iterator[str]:
    version = tuple(int(part) for part in spec.get("rayVersion", "0").split("."))
    if spec.get("authOptions", {}).get("mode") != "token" or version < (2, 52):
        yield "authOptions: no token, which asks for rayVersion 2.52 or newer"
    scaling = spec.get("autoscalerOptions", {})
    if spec.get("enableInTreeAutoscaling") is not True or scaling.get("version") != "v2":
        yield "enableInTreeAutoscaling: no autoscaler v2"
    if not 0 < scaling.get("idleTimeoutSeconds", 1e9) <= 600:
        yield "autoscalerOptions.idleTimeoutSeconds: not in (0, 600]"
    head = spec["headGroupSpec"]
    if head.get("serviceType") != "ClusterIP" or head.get("enableIngress"):
        yield "headGroupSpec: open to the outside"
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "headGroupSpec: the head runs trials"
    for group in spec["workerGroupSpecs"]:
        if group.get("minReplicas") != 0 or group.get("replicas", 0) != 0:
            yield f"{group['groupName']}: workers that stay"
        if not 0 < group.get("maxReplicas", 1e9) <= MOST_WORKERS:
            yield f"{group['groupName']}: maxReplicas not in (0, {MOST_WORKERS}]"
        yield from _spot(group)
    yield from _container(
        {"resources": scaling.get("resources"), "securityContext": scaling.get("securityContext")},
        "autoscaler",
    )


def _spot(group: Document) -> Iterator[str]:
    pod = group["template"]["spec"]
    affinity = pod.get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    for term in terms.get("nodeSelectorTerms", [{}]):
        keys = {e["key"] for e in term.get("matchExpressions", []) if e["operator"] == "In"}
        if not keys & SPOT:
            yield f"{group['groupName']}: may land on a node that is not spot"
    if not any("spot" in str(t.get("value")) + t["key"] for t in pod.get("tolerations", [])):
        yield f"{group['groupName']}: does not tolerate spot nodes"


def _job(spec: Document) -> Iterator[str]:
    if spec.get("submissionMode") not in ("K8sJobMode", "HTTPMode", "SidecarMode"):
        yield f"submissionMode: {spec.get('submissionMode')!r} is none that ends by itself"
    if not 0 < spec.get("activeDeadlineSeconds", 1e9) <= LONGEST_JOB:
        yield f"activeDeadlineSeconds: not in (0, {LONGEST_JOB}]"
    if spec.get("shutdownAfterJobFinishes") is not True:
        yield "shutdownAfterJobFinishes: the cluster stays"
    if not 0 <= spec.get("ttlSecondsAfterFinished", 1e9) <= 3600:
        yield "ttlSecondsAfterFinished: not in [0, 3600]"
    if spec.get("backoffLimit") != 0:
        yield "backoffLimit: a failed sweep is paid for again"
    if "clusterSelector" in spec:
        yield "clusterSelector: no cluster of its own"


def _pod(template: Document, name: str) -> Iterator[str]:
    pod = template["spec"]
    if pod.get("restartPolicy") != "Never":
        yield "restartPolicy: autoscaler v2 asks for Never"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "securityContext: may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "securityContext: no seccomp profile"
    if name != "head" and pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken: it speaks to Kubernetes"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key}: the node's own"
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield "volumes: a folder of the node"
    for container in pod["containers"]:
        image = container.get("image", "")
        if not re.search(r"@sha256:[0-9a-f]{64}$|:[\w.-]+$", image) or image.endswith(":latest"):
            yield f"image: {image!r} may be another one tomorrow"
        for variable in container.get("env", []):
            secret = re.search("PASSW|SECRET|TOKEN|KEY", variable["name"])
            if secret and "value" in variable:
                yield f"env: {variable['name']} is written here"
        yield from _container(container, container["name"])


def _container(container: Document, name: str) -> Iterator[str]:
    context = container.get("securityContext") or {}
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield f"{name}: may gain privileges"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield f"{name}: keeps capabilities"
    resources = container.get("resources") or {}
    if not resources.get("limits") or resources.get("limits") != resources.get("requests"):
        yield f"{name}: requests are not its limits"


def _policy(documents: list[Document], pods: dict[str, Document]) -> Iterator[str]:
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    if len(policies) != 1:
        yield "NetworkPolicy: there is not one"
        return
    spec = policies[0]["spec"]
    rules = schemas()["RayCluster"]
    for key in ("spec", "networkPolicy", "head", "ingressRules"):  # of the same type
        rules = _whole(rules["properties"][key])
    yield from _unknown(rules, spec.get("ingress", []), "NetworkPolicy.ingress")
    for key in set(spec) - {"podSelector", "policyTypes", "ingress"}:
        yield f"NetworkPolicy.{key}: unknown field"
    if "Ingress" not in spec.get("policyTypes", []):
        yield "NetworkPolicy: does not limit who comes in"
    for name, pod in pods.items():
        labels = pod.get("metadata", {}).get("labels", {})
        if not spec["podSelector"]["matchLabels"].items() <= labels.items():
            yield f"NetworkPolicy: does not cover {name}"
    open_ports = {
        port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])
    }
    if METRICS not in open_ports:
        yield f"NetworkPolicy: Prometheus cannot read port {METRICS}"
    for rule in spec.get("ingress", []):
        froms = rule.get("from", [])
        if not froms or not all(
            peer.get("podSelector", {}).get("matchLabels") and "ipBlock" not in peer
            for peer in froms
        ):
            yield "NetworkPolicy: lets in whom it does not name"
