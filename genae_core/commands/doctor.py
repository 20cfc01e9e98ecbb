"""Show versions, devices, memory, disks, and whether stores and clusters answer.

It is one screen to paste into a bug report. No password and no token is shown. The exit code is 1
if something is missing or does not answer.

  genae doctor
  genae doctor --tracking-uri http://HOST:5000 --storage s3://BUCKET/sweeps --ray-address HOST:6379
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from genae_core.commands import diagnosis
from genae_core.config.console import say
from genae_core.config.places import locate_fields
from genae_core.config.redaction import redact


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this command."""

    tracking_uri: str | None = None
    """The MLflow store to ask (default: mlflow.db in GENAE_HOME)."""
    storage: str | None = None
    """A folder or URI to ask, such as that of --storage, --shards or --data-root of a sweep."""
    ray_address: str | None = None
    """The Ray cluster to ask (default: RAY_ADDRESS, and the node of `genae node`)."""

    def __post_init__(self) -> None:
        locate_fields(self, "tracking_uri", "storage")


def main(options: Options) -> int:
    """Print a line or more for each part. Returns 1 if one of them is not as it should be."""
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "genae": diagnosis.describe_genae,
        "system": diagnosis.describe_system,
        "packages": diagnosis.describe_packages,
        "devices": diagnosis.describe_devices,
        "memory": diagnosis.describe_memory,
        "disk": diagnosis.describe_disks,
        "store": partial(diagnosis.describe_store, options.tracking_uri),
        "storage": partial(diagnosis.describe_storage, options.storage),
        "cluster": partial(diagnosis.describe_cluster, options.ray_address),
        "node": diagnosis.describe_node,
    }
    status = 0
    for name, describe in parts.items():
        try:
            lines = list(describe())
        except Exception as error:  # The other parts are shown in any case.
            lines, status = [f"NOT OK: {str(error) or type(error).__name__}"], 1
        for number, line in enumerate(lines):
            say(f"{name if number == 0 else '':<9} {redact(line)}")
    return status
