"""What a batch system's job asks on each of its nodes, to start Ray there: cluster/slurm/ runs it.

python -m genae_core.cluster.batch_node address   # of the head: an IP address and a free port
python -m genae_core.cluster.batch_node flags     # for `ray start`: what the node offers
python -m genae_core.cluster.batch_node token     # the file of the token that Ray asks for
"""

import ipaddress
import os
import secrets
import socket
import sys
from contextlib import suppress

import psutil

from genae_core.cluster.node_memory import divide_memory
from genae_core.config.errors import print_error
from genae_core.config.home import private_folder, secret_file
from genae_core.config.machine import usable_cpus


def resource_flags(num_cpus: int | None = None) -> list[str]:
    """The flags of `ray start` with the CPUs and the memory that this process may use.

    Ray by itself would offer all CPUs and all memory of the machine.

    num_cpus: Another number of CPUs.
    """
    memory = divide_memory()
    return [
        f"--num-cpus={num_cpus or usable_cpus()}",
        f"--memory={memory.tasks}",
        f"--object-store-memory={memory.object_store}",
    ]


def free_port(host: str = "") -> int:
    """A port that no program listens at, at one address of this machine or at all of them.

    The kernel gives ports from 32768 up (49152 on macOS) to every program that asks for any
    port. Another program could get such a port before the caller listens at it, so it is none
    of them, and none of those that Ray gives to its workers.

    Raises:
        OSError: All the ports are in use.
    """
    ports = range(20_000, 32_768)
    start = secrets.randbelow(len(ports))
    for number in range(len(ports)):
        port = ports[(start + number) % len(ports)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise OSError(f"all ports from {ports.start} to {ports.stop - 1} are in use")


def head_ip() -> str:
    """The address of this machine under which other nodes of the job reach it.

    It is the one that the name of the node stands for. On a machine whose name stands for
    loopback only, it is the first address of an interface.

    Raises:
        ValueError: The machine has no address.
    """
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    try:
        named = [str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)]
    except socket.gaierror:
        named = []
    interfaces: list[str] = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]
    own = [ip for ip in named if ip in interfaces]
    for ip in (*own, *interfaces):
        if not ipaddress.ip_address(ip).is_loopback:
            return ip
    raise ValueError(f"the node {name} has no address that another node could reach")


def main(words: list[str]) -> int:
    """Print what is asked for."""
    try:
        if words == ["address"]:
            print(f"{head_ip()}:{free_port()}")
        elif words == ["flags"]:
            print(*resource_flags(), f"--ray-client-server-port={free_port()}")
        elif words == ["token"]:
            print(secret_file(private_folder("slurm") / "token"))
        else:
            raise ValueError(f"ask for address, flags or token, got {' '.join(words)!r}")
    except (ValueError, OSError) as error:
        return print_error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
