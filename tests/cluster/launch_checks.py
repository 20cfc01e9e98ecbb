"""What is wrong with a `ray up` file: what Ray says of it, and what Ray does not look at.

Each check yields a sentence for each fault it finds, and nothing for a sound file.
"""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

Config = dict[str, Any]

SCHEMAS = Path(__file__).parent / "schemas"
# What Ray 2.60's node providers read of the provider section: any other key is passed over.
PROVIDER = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes", "use_internal_ips"},
    "gcp": {"type", "region", "availability_zone", "cache_stopped_nodes", "project_id"},
}
MOST_WORKERS = 8
LONGEST_IDLE = 10  # minutes


def faults(config: Config) -> list[str]:
    """Every fault of the file."""
    kind = config["provider"]["type"]
    cloud = {"aws": _aws, "gcp": _gcp}[kind]
    problems = [*_ray(config), *_spending(config), *_token(config)]
    for key in sorted(set(config["provider"]) - PROVIDER[kind]):
        problems.append(f"provider.{key}: Ray does not know it")
    if config["provider"].get("cache_stopped_nodes") is not False:
        problems.append("provider.cache_stopped_nodes: stopped nodes go on costing")
    for name, node_type in config["available_node_types"].items():
        is_head = name == config["head_node_type"]
        problems += [f"{name}: {fault}" for fault in cloud(node_type["node_config"], is_head)]
    return problems


def _ray(config: Config) -> Iterator[str]:
    from jsonschema import ValidationError  # noqa: PLC0415
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    if not config.get("cluster_name"):
        yield "cluster_name: missing, and Ray would take its default"
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (ValidationError, ValueError, KeyError) as error:
        yield f"Ray: {str(error).splitlines()[0]}"


def _spending(config: Config) -> Iterator[str]:
    for key, most in (("idle_timeout_minutes", LONGEST_IDLE), ("max_workers", MOST_WORKERS)):
        value = config.get(key)
        if not isinstance(value, int | float) or not 0 < value <= most:
            yield f"{key}: not in (0, {most}]"
    for name, node_type in config["available_node_types"].items():
        if name == config["head_node_type"]:
            if node_type.get("resources", {}).get("CPU") != 0:
                yield f"{name}: the head runs trials"
        elif node_type.get("min_workers") != 0:
            yield f"{name}: min_workers is not 0"
        elif config["provider"].get("type") == "gcp" and not node_type["resources"].get("memory"):
            yield f"{name}: Ray would not start it for a trial that asks for memory"
    if "--num-cpus=0" not in " ".join(config["head_start_ray_commands"]):
        yield "head_start_ray_commands: the head runs trials"


def _token(config: Config) -> Iterator[str]:
    for where in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[where]:
            if (
                "ray start" in command
                and "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=" not in command
            ):
                yield f"{where}: no token between the nodes"
    if "--dashboard-host=127.0.0.1" not in " ".join(config["head_start_ray_commands"]):
        yield "head_start_ray_commands: the dashboard is open"


def _aws(node: Config, is_head: bool) -> Iterator[str]:
    from botocore.validate import ParamValidator  # noqa: PLC0415

    # As Ray calls it: SubnetIds is Ray's own, and becomes one SubnetId.
    call = {k: v for k, v in node.items() if k != "SubnetIds"} | {"MinCount": 1, "MaxCount": 1}
    report = ParamValidator().validate(call, _run_instances())
    if report.has_errors():
        yield f"node_config: {report.generate_report()}"
    for key in ("SubnetIds", "SecurityGroupIds", "IamInstanceProfile", "KeyName", "ImageId"):
        if not node.get(key):
            yield f"{key}: missing, and Ray's default is open or wide"
    disks = node.get("BlockDeviceMappings", [])
    if not disks or not all(disk["Ebs"].get("Encrypted") for disk in disks):
        yield "BlockDeviceMappings: a disk is not encrypted"
    if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
        yield "MetadataOptions: IMDSv1 answers"
    if not is_head and node.get("InstanceMarketOptions", {}).get("MarketType") != "spot":
        yield "InstanceMarketOptions: not a spot instance"
    ends = node.get("InstanceInitiatedShutdownBehavior") == "terminate"
    if not ends or "shutdown -h +" not in node.get("UserData", ""):
        yield "UserData: a forgotten instance never ends"


@cache
def _run_instances() -> Any:
    """What EC2's RunInstances takes, as botocore knows it."""
    from botocore.session import Session  # noqa: PLC0415

    return Session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _gcp(node: Config, is_head: bool) -> Iterator[str]:
    schema = json.loads((SCHEMAS / "compute-v1-instance.json").read_text())
    if unlike := list(_unlike(schema, "Instance", node, "node_config")):
        yield from unlike
        return
    for interface in node.get("networkInterfaces", [{}]):
        if not interface.get("subnetwork", "").endswith("/subnetworks/genae"):
            yield "networkInterfaces: not a network of ours, and the default one is open"
    accounts = node.get("serviceAccounts", [])
    if len(accounts) != 1 or not accounts[0]["email"].startswith("genae-"):
        yield "serviceAccounts: not one of ours, and Ray's own may do almost anything"
    keys = {item["key"]: item["value"] for item in node.get("metadata", {}).get("items", [])}
    if keys.get("block-project-ssh-keys") != "true":
        yield "metadata: every SSH key of the project opens it"
    scheduling = node.get("scheduling", {})
    if not is_head and scheduling.get("provisioningModel") != "SPOT":
        yield "scheduling: not a spot instance"
    ends = scheduling.get("instanceTerminationAction") == "DELETE"
    if not ends or int(scheduling.get("maxRunDuration", {}).get("seconds", 1e9)) > 7 * 86400:
        yield "scheduling: a forgotten instance never ends"


def _unlike(schema: Config, kind: Any, value: Any, path: str) -> Iterator[str]:
    """Where the value is not of the kind that the schema names."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield f"{path}: not a list"
            return
        for number, part in enumerate(value):
            yield from _unlike(schema, kind[0], part, f"{path}[{number}]")
    elif kind in schema:
        if not isinstance(value, dict):
            yield f"{path}: not a {kind}"
            return
        for key, part in value.items():
            if key in schema[kind]:
                yield from _unlike(schema, schema[kind][key], part, f"{path}.{key}")
            else:
                yield f"{path}.{key}: unknown field"
    else:  # Google writes 64-bit integers as strings, and takes them either way
        plain = {"boolean": bool, "integer": int, "string": (str, int), "map": dict}
        if not isinstance(value, plain[kind]) or (isinstance(value, bool) and kind != "boolean"):
            yield f"{path}: not a {kind}"
