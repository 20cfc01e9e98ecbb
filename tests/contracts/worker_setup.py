"""Ray starts this in place of its own setup_worker.py, and with the script of an agent in place
of Python. It has the worker or the agent forked from a process that has imported much (see
script_server.py), and ends when that one has ended.
"""

import json
import os
import socket
import sys

SOCKET = "SOCKET_OF_WORKERS"  # the variable with the place of the socket that forks workers
AGENTS = "-agents"  # the end of the name of the socket that forks agents


def main() -> None:
    agent = sys.argv[1].endswith(("agent.py", "agent/main.py"))
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.environ[SOCKET] + (AGENTS if agent else ""))
        order = {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}
        socket.send_fds(asking, [b"0"], [0, 1, 2])
        asking.sendall(json.dumps(order).encode())
        asking.shutdown(socket.SHUT_WR)
        asking.recv(1)  # returns when the worker has ended, which holds the other end


if __name__ == "__main__":
    main()
