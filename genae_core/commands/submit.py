"""Send a script to a cluster, follow its log, and return its exit code.

The files that git tracks in the repository of the present folder are sent to the cluster. Without
--address, the cluster is the node that `genae node up` starts on this machine.

  genae submit -- sweeps/latent_dim.py --dataset mnist
  genae submit --address http://127.0.0.1:8265 --install -- my_study.py --seeds 0 1 2
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
from typing import Annotated, Any
from urllib.parse import urlsplit

import tyro

from genae_core import config
from genae_core.cluster import local_node as node
from genae_core.cluster.upload import Checkout
from genae_core.config.command_name import command_line
from genae_core.config.places import local_path, locate_fields
from genae_core.config.redaction import redact_uri
from genae_core.sweep.job_client import JobClient, connect_client

SECRET = re.compile(r"PASSW|SECRET|TOKEN|CREDENTIAL|(^|_)(API|ACCESS)?_?KEY(_|$)", re.IGNORECASE)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STOPPED = 130  # the exit code that a shell gives to a program that Ctrl-C ended
STOP_S = 90  # the time that a stopped job has to end
SILENCE_S = 60  # the time without an answer after which `follow` gives up


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this job."""

    command: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A Python script that git tracks, with its flags, after two dashes (--)."""
    address: str | None = None
    """The address of the cluster's dashboard, http://127.0.0.1:PORT or https:// (default:
    RAY_API_SERVER_ADDRESS, else the node of `genae node`)."""
    token: Path | None = None
    """The file with the cluster's token (default: that of `genae node` for its own node, else
    RAY_AUTH_TOKEN_PATH)."""
    install: bool = False
    """Install the packages that genae needs on the cluster before the job begins, in the versions
    of constraints.txt. This is not needed if the cluster's image has them, nor for `genae node`,
    which runs in this Python."""
    env: tuple[str, ...] = ()
    """Names of environment variables to send. Ray logs their values and shows them to everyone who
    has the token, so a variable that seems to hold a password is refused."""
    allow_dirty: bool = False
    """Send the files even if they differ from the commit. The runs then have the tag git_dirty."""
    max_mib: float = 50.0
    """The largest size of the files that are sent, in MiB."""
    follow: bool = True
    """Print the job's log, and return its exit code."""

    def __post_init__(self) -> None:
        locate_fields(self, "token")
        config.require(len(self.command) > 0, "give a script after --", command=self.command)
        config.require_amount(max_mib=self.max_mib)
        for word in self.command:
            if redact_uri(word) != word:
                raise ValueError(
                    "a flag holds a password, and Ray shows a job's flags: set it in the "
                    "cluster's environment instead (MLFLOW_TRACKING_USERNAME, "
                    "MLFLOW_TRACKING_PASSWORD)"
                )
        for name in self.env:
            if name not in os.environ:
                raise ValueError(f"--env {name}: there is no such variable")
            if SECRET.search(name) or redact_uri(value := os.environ[name]) != value:
                raise ValueError(
                    f"--env {name}: Ray logs these values and shows them; give secrets to the "
                    "cluster's nodes instead (see cluster/README.md)"
                )


def connect(options: Options) -> JobClient:
    """Return a client of the cluster's job server.

    Ray takes its address and its token from environment variables, which are set here.

    Raises:
        ValueError: No Ray dashboard answers at the address, it does not accept the token, or the
            token would cross a network in the clear.
    """
    local = node.running_node()
    address = _find_address(options, local)
    host = urlsplit(address).hostname or ""
    if host in LOOPBACK:
        _bypass_proxies(host)
    is_local = local is not None and address == local.address.replace("127.0.0.1", host)
    token = _find_token(options, is_local)
    if token is not None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        os.environ.pop("RAY_AUTH_TOKEN", None)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        os.environ.pop(name, None)  # Ray would prefer these to the address that it is passed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage statistics.
    logging.disable(logging.INFO)  # Ray logs every upload.
    hint = f"the one in {token} is not its token" if token else "give its file with --token"
    return connect_client(address, hint)


def _find_address(options: Options, local: node.Node | None) -> str:
    """Return the dashboard's address: the flag's, else the environment's, else the local node's.

    Raises ValueError if there is none, or if the token would cross a network in the clear.
    """
    address = options.address or os.environ.get("RAY_API_SERVER_ADDRESS")
    address = address or (local.address if local else None)
    if address is None:
        raise ValueError(
            f"no cluster is up: start one with {command_line('node', 'up')}, or give --address"
        )
    address = address.rstrip("/")
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or url.hostname is None:
        raise ValueError(f"--address is the dashboard's, http://127.0.0.1:PORT, got {address!r}")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(
            f"{address}: the token would cross the network in the clear; open a tunnel "
            "(ray dashboard, kubectl port-forward, ssh -L), and give its end on this machine"
        )
    return address


def _bypass_proxies(host: str) -> None:
    """Make HTTP clients reach this machine directly.

    They would otherwise send the token and the files to a proxy.
    """
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [entry for entry in os.environ.get(name, "").split(",") if entry]
        os.environ[name] = ",".join([*hosts, host])


def _find_token(options: Options, is_local: bool) -> Path | None:
    """Return the token's file: the flag's, else the local node's, else the environment's.

    Raises ValueError if the file does not exist, or if others can read it.
    """
    token = options.token or (node.token_file() if is_local else None)
    variable = os.environ.get("RAY_AUTH_TOKEN_PATH")
    token = token or (local_path(variable, "RAY_AUTH_TOKEN_PATH") if variable else None)
    if token is not None:
        if not token.is_file():
            raise ValueError(f"there is no token file {token}")
        if token.stat().st_mode & 0o077:
            raise ValueError(f"others can read the token: chmod 600 {token}")
    return token


class Log:
    """The log of a job. Every part is printed once, even if the connection breaks off."""

    def __init__(self, client: JobClient, job: str) -> None:
        self.client, self.job, self.printed = client, job, 0

    async def print(self) -> None:
        """Print what was not printed before, until the log or the connection ends."""
        received = 0
        async for text in self.client.tail_job_logs(self.job):
            received += len(text)
            new = text[-(received - self.printed) :] if received > self.printed else ""
            print(new, end="", flush=True)
            self.printed += len(new)


def follow(client: JobClient, job: str) -> int:
    """Print the log of a job as it is written, and return the job's exit code.

    The code is STOPPED if the job was stopped, and 128 plus the signal if a signal ended it.

    Raises:
        ConnectionError: The cluster does not answer for SILENCE_S.
    """
    import aiohttp  # noqa: PLC0415  comes with Ray

    log, info, last_answer = Log(client, job), None, time.monotonic()
    while info is None or not info.status.is_terminal():
        try:
            asyncio.run(log.print())
            info = client.get_job_info(job)
            last_answer = time.monotonic()
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            if time.monotonic() - last_answer > SILENCE_S:
                raise ConnectionError(f"the cluster no longer answers: {error}") from None
            time.sleep(1)
    if info.status == "SUCCEEDED":
        return 0
    if info.driver_exit_code is None:  # The job never began, or it was stopped.
        print(f"{job}: {info.message}", file=sys.stderr)
    print(f"{job} {info.status.lower()}", file=sys.stderr)
    code = info.driver_exit_code or 1
    return STOPPED if info.status == "STOPPED" else code if code > 0 else 128 - code


def main(options: Options) -> int:
    """Send a script of the git repository in which the present folder lies."""
    return submit(options, Checkout.around(Path.cwd()))


def submit(options: Options, checkout: Checkout) -> int:
    """Check everything, send the job, and follow it.

    Args:
        options: The flags.
        checkout: The git checkout whose files are sent.

    Returns:
        The exit code of the job.
    """
    commit = checkout.commit_variables(options.allow_dirty)
    files = checkout.files_to_send(options.max_mib * 2**20)
    entrypoint = shlex.join(checkout.job_command(options.command, files))
    requirements = checkout.requirements() if options.install else []
    client = connect(options)
    runtime = _runtime(options, commit, requirements)
    about = {
        "commit": commit["GENAE_STUDY_COMMIT"],
        "dirty": commit["GENAE_STUDY_DIRTY"],
        "command": entrypoint,
    }
    with tempfile.TemporaryDirectory() as scratch:
        runtime["working_dir"] = f"{scratch}/genae.zip"
        checkout.pack(files, Path(runtime["working_dir"]))
        try:
            job = client.submit_job(entrypoint=entrypoint, runtime_env=runtime, metadata=about)
        except RuntimeError as error:
            raise ValueError(f"the cluster refuses the job: {str(error).strip()}") from None
    hint = _commands(client.get_address(), job)
    print(f"{job}: {entrypoint}, commit {commit['GENAE_STUDY_COMMIT'][:9]}\n{hint}", flush=True)
    if not options.follow:
        return 0
    try:
        return follow(client, job)
    except KeyboardInterrupt:
        print(f"\n{job} continues on the cluster.\n{hint}", file=sys.stderr)
        return STOPPED


def _runtime(options: Options, commit: dict[str, str], requirements: list[str]) -> dict[str, Any]:
    """The variables and the packages of the job, as Ray takes them."""
    environment = {name: os.environ[name] for name in options.env} | commit
    # Ray would kill a stopped job after 3 s. A sweep needs longer: it delivers what it logged,
    # and prints how to resume it.
    environment["RAY_JOB_STOP_WAIT_TIME_S"] = str(STOP_S)
    packages = {"packages": requirements, "pip_check": False}
    return {"env_vars": environment, **({"pip": packages} if requirements else {})}


def _commands(address: str, job: str) -> str:
    """Return the two commands that follow and stop the job, with the variables that they need."""
    names = [n for n in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH") if n in os.environ]
    ray = " ".join([*(f"{n}={shlex.quote(os.environ[n])}" for n in names), "ray job"])
    flags = f"--address {redact_uri(address)} {job}"
    return f"follow it: {ray} logs --follow {flags}\nstop it:   {ray} stop {flags}"
