"""Send a sweep or a job of this repository to a cluster, follow its log, and end as it ends.

What is sent is what git tracks. Without --address it goes to the node of cluster/local/node.py.

  python jobs/submit.py -- sweeps/latent_dim.py --dataset mnist
  python jobs/submit.py --address http://127.0.0.1:8265 --install -- sweeps/search.py --minutes 20
"""

import asyncio
import logging
import os
import re
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import tyro

from genae_core import config
from genae_core.cluster import local_node as node
from genae_core.cluster.upload import (
    commit_variables,
    files_to_send,
    job_command,
    pack,
    requirements,
)
from genae_core.config.cli import cli

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves without being asked

SECRET = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|(^|_)(API|ACCESS)?_?KEY(_|$)", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STOPPED = 130  # as a shell says of what Ctrl-C ended
STOP_S = 90  # that a job has to end after it was told to
LOST_S = 60  # without an answer, before the following is given up


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    command: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A script of this repository and its flags, after --."""
    address: str | None = None
    """Of the cluster's dashboard, http://127.0.0.1:PORT or https:// (default:
    RAY_API_SERVER_ADDRESS, else the node of cluster/local)."""
    token: Path | None = None
    """File with the cluster's token (default: RAY_AUTH_TOKEN_PATH, else that of cluster/local)."""
    install: bool = False
    """Have the cluster install genae's packages, under constraints.txt, before the job begins. The
    default suits a cluster whose image has them, and cluster/local, which runs in this Python."""
    env: tuple[str, ...] = ()
    """Names of variables whose values go along. Ray shows them to whoever has the token, and logs
    them, so a password's is refused."""
    allow_dirty: bool = False
    """Send files that differ from the commit; the runs are tagged git_dirty."""
    max_mib: float = 50.0
    """The most to send, MiB."""
    follow: bool = True
    """Print the job's log, and end with its exit code."""

    def __post_init__(self) -> None:
        config.require(len(self.command) > 0, "give a script after --", command=self.command)
        config.require_finite(0, max_mib=self.max_mib)
        for word in self.command:
            if PASSWORD_IN_URL.search(word):
                raise ValueError(
                    "a flag holds a password, and Ray shows a job's flags: have the cluster's "
                    "environment hold it (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)"
                )
        for name in self.env:
            if name not in os.environ:
                raise ValueError(f"--env {name}: there is no such variable")
            if SECRET.search(name) or PASSWORD_IN_URL.search(os.environ[name]):
                raise ValueError(
                    f"--env {name}: Ray logs these values and shows them; give secrets to the "
                    "cluster's nodes instead (see cluster/README.md)"
                )


def connect(options: Options) -> "JobSubmissionClient":
    """The cluster's job server. Raises ValueError where none answers, or not to this token."""
    local = node.running()
    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS")
    address = address or (local.address if local else None)
    if address is None:
        raise ValueError("no cluster is up: python cluster/local/node.py up, or give --address")
    address = address.rstrip("/")
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or url.hostname is None:
        raise ValueError(f"--address is the dashboard's, http://127.0.0.1:PORT, got {address!r}")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(
            f"{address}: the token would cross the network for all to read; open a tunnel "
            "(ray dashboard, kubectl port-forward, ssh -L), and give its end on this machine"
        )
    if url.hostname in LOOPBACK:
        # requests would give a proxy what is for this machine: the token and the files.
        for name in ("NO_PROXY", "no_proxy"):
            known = [host for host in os.environ.get(name, "").split(",") if host]
            os.environ[name] = ",".join([*known, url.hostname])
    here = local is not None and address == local.address.replace("127.0.0.1", url.hostname)
    token = options.token or (node.token_file() if here else None)
    token = token or _path(os.environ.get("RAY_AUTH_TOKEN_PATH"))
    if token is not None:
        if not token.is_file():
            raise ValueError(f"there is no token in {token}")
        if token.stat().st_mode & 0o077:
            raise ValueError(f"others can read the token: chmod 600 {token}")
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token.absolute())}
        os.environ.pop("RAY_AUTH_TOKEN", None)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(name, None)  # Ray would prefer them to what it is given
    logging.disable(logging.INFO)  # Ray tells of every upload
    # Imported here: Ray reads the variables above when it loads.
    from ray.exceptions import AuthenticationError  # noqa: PLC0415
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        said = f"the one in {token} is not its token" if token else "give its file with --token"
        raise ValueError(f"the cluster at {address} asks for a token: {said}") from None
    except ConnectionError:
        raise ValueError(f"no Ray cluster answers at {address}") from None
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"what answers at {address} is no Ray dashboard: {error}") from None


class Log:
    """A job's log, printed once also where the way to the cluster is cut now and then."""

    def __init__(self, client: "JobSubmissionClient", job: str) -> None:
        self.client, self.job, self.printed = client, job, 0

    async def print(self) -> None:
        """Print what was not printed before, until the log or the connection ends."""
        seen = 0
        async for text in self.client.tail_job_logs(self.job):
            seen += len(text)
            new = text[max(0, len(text) - (seen - self.printed)) :] if seen > self.printed else ""
            print(new, end="", flush=True)
            self.printed += len(new)


def follow(client: "JobSubmissionClient", job: str) -> int:
    """Print the job's log as it is written; its exit code, STOPPED where it was stopped.

    Raises ConnectionError where the cluster is silent for LOST_S.
    """
    import aiohttp  # noqa: PLC0415  with Ray

    log, info, heard = Log(client, job), None, time.monotonic()
    while info is None or not info.status.is_terminal():
        try:
            asyncio.run(log.print())
            info = client.get_job_info(job)
            heard = time.monotonic()
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            if time.monotonic() - heard > LOST_S:
                raise ConnectionError(f"the cluster no longer answers: {error}") from None
            time.sleep(1)
    if info.status == "SUCCEEDED":
        return 0
    if info.driver_exit_code is None:  # it never began, or was stopped
        print(f"{job}: {info.message}", file=sys.stderr)
    print(f"{job} {info.status.lower()}", file=sys.stderr)
    code = info.driver_exit_code or 1
    return STOPPED if info.status == "STOPPED" else code if code > 0 else 128 - code


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def main(options: Options) -> int:
    """Check everything, send, follow."""
    commit = commit_variables(options.allow_dirty)
    files = files_to_send(options.max_mib * 2**20)
    entrypoint = shlex.join(job_command(options.command, files))
    client = connect(options)
    environment = {name: os.environ[name] for name in options.env} | commit
    # Ray would kill it after 3 s; a sweep delivers what it logged, and says how to go on.
    environment["RAY_JOB_STOP_WAIT_TIME_S"] = str(STOP_S)
    runtime: dict[str, Any] = {"env_vars": environment}
    if options.install:
        runtime["pip"] = {"packages": requirements(), "pip_check": False}
    about = {
        "commit": commit["GENAE_COMMIT"],
        "dirty": commit["GENAE_DIRTY"],
        "command": entrypoint,
    }
    with tempfile.TemporaryDirectory() as scratch:
        runtime["working_dir"] = f"{scratch}/genae.zip"
        pack(files, Path(runtime["working_dir"]))
        try:
            job = client.submit_job(entrypoint=entrypoint, runtime_env=runtime, metadata=about)
        except RuntimeError as error:
            raise ValueError(f"the cluster refuses the job: {str(error).strip()}") from None
    known = [n for n in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH") if n in os.environ]
    ray = " ".join([*(f"{n}={shlex.quote(os.environ[n])}" for n in known), "ray job"])
    where = f"--address {client.get_address()} {job}"
    again = f"follow it: {ray} logs --follow {where}\nstop it:   {ray} stop {where}"
    print(f"{job}: {entrypoint}, commit {about['commit'][:9]}\n{again}", flush=True)
    if not options.follow:
        return 0
    try:
        return follow(client, job)
    except KeyboardInterrupt:
        print(f"\n{job} goes on.\n{again}", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
