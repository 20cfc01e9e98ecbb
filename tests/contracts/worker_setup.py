"""Ray starts this in place of its own setup_worker.py. It has the worker forked from a process
that has imported much (see script_server.py), and ends when the worker has ended.
"""

import json
import os
import socket
import sys

SOCKET = "SOCKET_OF_WORKERS"  # the variable with the place of the socket that forks workers


def main() -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.environ[SOCKET])
        order = {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}
        socket.send_fds(asking, [b"0"], [0, 1, 2])
        asking.sendall(json.dumps(order).encode())
        asking.shutdown(socket.SHUT_WR)
        asking.recv(1)  # returns when the worker has ended, which holds the other end


if __name__ == "__main__":
    main()
