"""The `ray up` files: Ray's own checks, what they pass over, and that each check can fail."""

import ast
import copy
import importlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import launch_checks
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "aws": {
        "Region": "eu-west-1",
        "SshKey": "~/.ssh/id_ed25519",
        "ImageId": "ami-0123456789abcdef0",
        "KeyName": "me",
        "Subnet": "subnet-1",
        "SecurityGroup": "sg-1",
    },
    "gcp": {
        "Region": "europe-west4",
        "Zone": "europe-west4-a",
        "Project": "project",
        "SshKey": "~/.ssh/id_ed25519",
        "SshPublicKey": "ssh-ed25519 AAAA me",
        "GpuImage": "ubuntu-accelerator-2404",
    },
}
OURS = {"Repository": str(ROOT), "Token": "~/.genae/aws.token"}


@pytest.fixture(scope="module")
def filling() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield importlib.import_module("cluster.fill")


def filled(filling: ModuleType, kind: str, **values: str) -> dict[str, Any]:
    text = (ROOT / "cluster" / f"{kind}.yaml").read_text()
    config: dict[str, Any] = yaml.safe_load(filling.fill(text, VALUES[kind] | OURS | values))
    return config


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_file_has_no_fault(kind: str, filling: ModuleType) -> None:
    assert launch_checks.faults(filled(filling, kind)) == []


def at(config: dict[str, Any], path: str) -> tuple[Any, Any]:
    """The last container on the way, and the key in it."""
    *way, last = path.split(".")
    for key in way:
        config = config[int(key)] if isinstance(config, list) else config[key]
    return config, int(last) if isinstance(config, list) else last


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        place, key = at(config, path)
        place[key] = value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        place, key = at(config, path)
        del place[key]

    return change


WORKER = "available_node_types.worker"
BOTH = [
    (drop("cluster_name"), "cluster_name"),
    (put("nonsense", 1), "Ray: Additional properties"),
    (put("max_workers", "4"), "Ray: '4' is not of type"),
    (put("head_node_type", "head_"), "Ray: `head_node_type`"),
    (put(f"{WORKER}.nonsense", 1), "Ray: Additional properties"),
    (put("max_workers", 100), "max_workers"),
    (put("idle_timeout_minutes", 600), "idle_timeout_minutes"),
    (drop("idle_timeout_minutes"), "idle_timeout_minutes"),
    (put(f"{WORKER}.min_workers", 1), "min_workers is not 0"),
    (put(f"{WORKER}.min_workers", -1), "min_workers is not 0"),
    (put("available_node_types.head.resources", {"CPU": 8}), "the head runs trials"),
    (put("provider.regoin", "x"), "provider.regoin: Ray does not know it"),
    (drop("provider.cache_stopped_nodes"), "stopped nodes go on costing"),
    (put("head_start_ray_commands", ["ray start --head"]), "no token between the nodes"),
    (put("worker_start_ray_commands", ["ray start"]), "no token between the nodes"),
    (put("head_start_ray_commands", ["ray start --dashboard-host=0.0.0.0"]), "dashboard is open"),
]
NODE = f"{WORKER}.node_config"
AWS = [
    (put(f"{NODE}.InstanceTyp", "g6.xlarge"), "InstanceTyp"),
    (put(f"{NODE}.MetadataOptions.HttpToken", "x"), "HttpToken"),
    (put(f"{NODE}.BlockDeviceMappings.0.Ebs.Encrypted", "yes"), "Encrypted"),
    (put(f"{NODE}.BlockDeviceMappings.0.Ebs.Encrypted", False), "a disk is not encrypted"),
    (drop(f"{NODE}.BlockDeviceMappings"), "a disk is not encrypted"),
    (put(f"{NODE}.MetadataOptions.HttpTokens", "optional"), "IMDSv1 answers"),
    (drop(f"{NODE}.SecurityGroupIds"), "SecurityGroupIds: missing"),
    (drop(f"{NODE}.IamInstanceProfile"), "IamInstanceProfile: missing"),
    (drop(f"{NODE}.InstanceMarketOptions"), "not a spot instance"),
    (drop(f"{NODE}.UserData"), "a forgotten instance never ends"),
    (put("provider.security_group", {"IpPermissions": []}), "provider.security_group"),
]
GCP = [
    (drop(f"{WORKER}.resources.memory"), "for a trial that asks for memory"),
    (put(f"{NODE}.machinetype", "g2-standard-4"), "node_config.machinetype: unknown field"),
    (put(f"{NODE}.scheduling.preemptable", True), "scheduling.preemptable: unknown field"),
    (put(f"{NODE}.scheduling", [{"preemptible": True}]), "scheduling: not a Scheduling"),
    (put(f"{NODE}.disks.0.boot", "yes"), "disks[0].boot: not a boolean"),
    (put(f"{NODE}.disks", {}), "disks: not a list"),
    (put(f"{NODE}.networkInterfaces.0.subnetwork", "x/default"), "not a network of ours"),
    (drop(f"{NODE}.networkInterfaces"), "not a network of ours"),
    (drop(f"{NODE}.serviceAccounts"), "serviceAccounts: not one of ours"),
    (put(f"{NODE}.metadata.items", []), "every SSH key of the project"),
    (drop(f"{NODE}.scheduling.provisioningModel"), "not a spot instance"),
    (drop(f"{NODE}.scheduling.maxRunDuration"), "a forgotten instance never ends"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [("aws", *case) for case in BOTH + AWS] + [("gcp", *case) for case in BOTH + GCP],
)
def test_each_check_can_fail(
    kind: str, change: Callable[[dict[str, Any]], None], fault: str, filling: ModuleType
) -> None:
    config = copy.deepcopy(filled(filling, kind))
    change(config)
    results = launch_checks.faults(config)
    assert any(fault in each for each in results), results


# AWS's stack, and the nodes that Ray starts in it, on a cloud of this machine's own.


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """moto's EC2 with the stack made; the values that it gives."""
    moto = pytest.importorskip("moto")
    pytest.importorskip("openapi_spec_validator", reason="moto's CloudFormation needs it")
    import boto3  # noqa: PLC0415

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with moto.mock_aws():
        ec2 = boto3.client("ec2", "eu-west-1")
        subnet = ec2.describe_subnets()["Subnets"][0]
        ec2.modify_subnet_attribute(
            SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True}
        )
        ec2.create_key_pair(KeyName="me")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        boto3.client("ssm", "eu-west-1").put_parameter(Name="/image", Value=image, Type="String")
        body = (ROOT / "cluster" / "aws" / "stack.yaml").read_text()
        body, replaced = re.subn(r"/aws/service/\S+", "/image", body)
        assert replaced == 1
        given = {"Vpc": subnet["VpcId"], "Subnet": subnet["SubnetId"], "KeyName": "me"}
        stacks = boto3.client("cloudformation", "eu-west-1")
        stacks.create_stack(
            StackName="genae",
            TemplateBody=body,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in (given | {"SshFrom": "198.51.100.7/32"}).items()
            ],
        )
        outputs = stacks.describe_stacks(StackName="genae")["Stacks"][0]["Outputs"]
        yield {output["OutputKey"]: output["OutputValue"] for output in outputs}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_ray_starts_on_aws_is_closed_encrypted_and_spot(
    cloud: dict[str, str], filling: ModuleType
) -> None:
    """Ray's own bootstrap and node provider; every call is checked by botocore."""
    import boto3  # noqa: PLC0415
    from ray.autoscaler._private.aws.config import bootstrap_aws  # noqa: PLC0415
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider  # noqa: PLC0415
    from ray.autoscaler._private.util import prepare_config  # noqa: PLC0415

    values = {key: value for key, value in cloud.items() if key != "Bucket"}
    config = bootstrap_aws(prepare_config(filled(filling, "aws", **values)))
    ec2, iam = boto3.client("ec2", "eu-west-1"), boto3.client("iam")
    groups = ec2.describe_security_groups()["SecurityGroups"]
    assert {group["GroupName"] for group in groups} - {"default"} == {
        group["GroupName"] for group in groups if group["GroupId"] == cloud["SecurityGroup"]
    }, "Ray made a group of its own"
    profiles = iam.list_instance_profiles()["InstanceProfiles"]
    assert {p["InstanceProfileName"] for p in profiles} == {"genae-head", "genae-worker"}
    ours = next(group for group in groups if group["GroupId"] == cloud["SecurityGroup"])
    for rule in ours["IpPermissions"]:
        inside = [pair["GroupId"] for pair in rule["UserIdGroupPairs"]]
        from_here = [entry["CidrIp"] for entry in rule["IpRanges"]]
        assert inside == [cloud["SecurityGroup"]] or (
            rule["FromPort"] == rule["ToPort"] == 22 and from_here == ["198.51.100.7/32"]
        )
        assert not rule["Ipv6Ranges"] and not rule["PrefixListIds"]
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name in ("head", "worker"):
        node = config["available_node_types"][name]["node_config"]
        provider.create_node(node, {"ray-user-node-type": name}, 1)
    results = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    by_type = {instance["InstanceType"]: instance for instance in results}
    assert by_type["g6.xlarge"]["InstanceLifecycle"] == "spot"
    assert by_type["g6.xlarge"]["IamInstanceProfile"]["Arn"].endswith("/genae-worker")
    assert by_type["m7i.large"]["IamInstanceProfile"]["Arn"].endswith("/genae-head")
    for instance in results:
        assert [g["GroupId"] for g in instance["SecurityGroups"]] == [cloud["SecurityGroup"]]
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert {"Key": "ray-cluster-name", "Value": "genae"} in instance["Tags"]
    assert all(volume["Encrypted"] for volume in ec2.describe_volumes()["Volumes"])
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert not provider.non_terminated_nodes({})


@pytest.mark.slow
def test_the_heads_role_may_start_these_workers_and_no_others(
    cloud: dict[str, str], filling: ModuleType
) -> None:
    import boto3  # noqa: PLC0415

    iam = boto3.client("iam")
    policy = iam.get_role_policy(RoleName="genae-head", PolicyName="autoscale")["PolicyDocument"]
    policy = ast.literal_eval(policy) if isinstance(policy, str) else policy  # moto's is text
    statements = {statement["Sid"]: statement for statement in policy["Statement"]}
    config = filled(filling, "aws")
    worker = config["available_node_types"]["worker"]["node_config"]
    start = statements["StartWorkersOnly"]["Condition"]["StringEquals"]
    assert start == {
        "ec2:InstanceType": worker["InstanceType"],
        "aws:RequestTag/ray-cluster-name": config["cluster_name"],
    }
    ends = statements["TagAndEndOurs"]
    assert ends["Condition"]["StringEquals"]["aws:ResourceTag/ray-cluster-name"] == "genae"
    for statement in statements.values():
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert action == "ec2:Describe*" or "*" not in action


class Template(yaml.SafeLoader):
    """CloudFormation's functions as (name, what they are given)."""


def _function(loader: Template, name: str, node: yaml.ScalarNode) -> tuple[str, Any]:
    return name, loader.construct_scalar(node)


Template.add_multi_constructor("!", _function)


def test_workers_may_use_the_bucket_and_nothing_else() -> None:
    text = (ROOT / "cluster" / "aws" / "stack.yaml").read_text()
    resources = yaml.load(text, Loader=Template)["Resources"]
    worker = resources["WorkerRole"]["Properties"]
    assert worker["ManagedPolicyArns"] == [("Ref", "UseBucket")] and "Policies" not in worker
    for statement in resources["UseBucket"]["Properties"]["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert action.startswith("s3:") and "*" not in action
        assert statement["Resource"] in (("GetAtt", "Bucket.Arn"), ("Sub", "${Bucket.Arn}/*"))


def test_the_stack_refuses_the_world_and_needs_no_aliases() -> None:
    """CloudFormation reads no YAML aliases."""
    text = (ROOT / "cluster" / "aws" / "stack.yaml").read_text()
    assert not [t for t in yaml.scan(text) if isinstance(t, yaml.AliasToken | yaml.AnchorToken)]
    pattern = re.search(r"AllowedPattern: (\S+)", text)
    assert pattern is not None
    setup = (ROOT / "cluster" / "gcp" / "setup.sh").read_text()
    other = re.search(r"=~ (\S+) ]]", setup)
    assert other is not None
    for allowed in (pattern[1], other[1]):
        assert re.fullmatch(allowed.strip("^$"), "198.51.100.7/32")
        assert not re.fullmatch(allowed.strip("^$"), "0.0.0.0/0")
        assert not re.fullmatch(allowed.strip("^$"), "10.0.0.0/8")


# Filling in.


def test_every_name_needs_a_value_and_every_value_a_name(filling: ModuleType) -> None:
    assert filling.fill("a: {{One}} # {{names}}", {"One": "1"}) == "a: 1 # {{names}}"
    for values, words in [
        ({}, "no value for One"),
        ({"One": "1", "Two": "2"}, "the file has no Two"),
        ({"One": "1\nb: 2"}, "not a plain value"),
        ({"One": '"; rm -rf'}, "not a plain value"),
    ]:
        with pytest.raises(ValueError, match=words):
            filling.fill("a: {{One}}", values)


@pytest.mark.parametrize("image", ["genae", "r/genae:latest", "r:5000/genae", "genae@sha256:12"])
def test_an_image_that_may_change_is_refused(image: str, filling: ModuleType) -> None:
    with pytest.raises(ValueError, match="may be another image tomorrow"):
        filling.fill("image: {{Image}}", {"Image": image})
    digest = "r:5000/genae@sha256:" + "0" * 64
    assert digest in filling.fill("image: {{Image}}", {"Image": digest})


def test_the_filled_file_and_the_token_are_the_users_alone(
    filling: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GENAE_HOME", str(tmp_path))
    values = tuple(f"{key}={value}" for key, value in VALUES["aws"].items())
    for _ in range(2):
        options = filling.Options(file=ROOT / "cluster" / "aws.yaml", values=values)
        assert filling.main(options) == 0
        token = (tmp_path / "aws.token").read_text()
    printed = capsys.readouterr().out
    assert len(token) == 64 and token not in printed
    assert (tmp_path / "aws.token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "aws.yaml").stat().st_mode & 0o777 == 0o600
    mounts = yaml.safe_load((tmp_path / "aws.yaml").read_text())["file_mounts"]
    assert all(os.path.exists(place) for place in mounts.values()), mounts
