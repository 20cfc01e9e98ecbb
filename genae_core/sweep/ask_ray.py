"""Ask a server over gRPC whether it is a Ray cluster, and print the name of the answer's status.

This is a program of its own, because threads of gRPC do not survive that a process forks, and the
driver of a sweep forks: `python -m genae_core.sweep.ask_ray HOST:PORT KIND SECONDS`.
"""

import sys

import grpc

# The method of each kind of address, and a message that changes nothing: is the head alive, and
# a ping.
QUESTIONS = {
    "head": ("/ray.rpc.NodeInfoGcsService/CheckAlive", b""),
    "client": ("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06"),
}


def ask(address: str, kind: str, seconds: float) -> str:
    """The name of the status of the answer, e.g. OK, UNAUTHENTICATED or UNIMPLEMENTED."""
    method, message = QUESTIONS[kind]
    options = [("grpc.enable_http_proxy", 0)]  # Ray does not use proxies either
    with grpc.insecure_channel(address, options) as channel:
        try:
            channel.unary_unary(method)(message, timeout=seconds)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


if __name__ == "__main__":
    address, kind, seconds = sys.argv[1:]
    print(ask(address, kind, float(seconds)))
