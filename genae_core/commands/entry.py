"""The command `genae`: it finds the command that its first word names, and runs it."""

import difflib
import importlib
import sys
from typing import Any

import genae_core as genae
from genae_core.config.cli import cli
from genae_core.config.command_name import PROGRAM
from genae_core.config.console import say
from genae_core.config.redaction import redact

# Each command with what it does. Its module has its name, with underscores.
COMMANDS = {
    "sweep": "Train and sample a grid of models around a base experiment.",
    "search": "Search for the model whose samples have the lowest FCD.",
    "sample": "Write samples of a trained model.",
    "evaluate": "Measure samples of a trained model.",
    "export": "Write a folder with a trained model and its card, for a model hub.",
    "prepare": "Decode a dataset once, into shards that all trials share.",
    "train-classifier": "Train the classifier behind the FCD, and check what it can measure.",
    "ui": "Show all runs in MLflow.",
    "explorer": "Open the page of a sweep, or build one of several sweeps.",
    "watch": "Watch running sweeps in Prometheus and Grafana.",
    "node": "Start, show or stop a Ray cluster of one node on this machine.",
    "submit": "Send a script to a cluster, and follow its log.",
    "replay": "Deliver what a sweep logged while its tracking store did not answer.",
    "relocate": "Enter the new place of a GENAE_HOME that was moved.",
    "doctor": "Show versions, devices, memory and what can be reached, for a bug report.",
}


def main() -> int:
    """Run the command that the command line names. Returns its exit status."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        say(overview())
        return 0
    if name == "--version":
        say(f"{PROGRAM} {genae.__version__}")
        return 0
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1) or list(COMMANDS)
        hint = f"did you mean {nearest[0]}?" if len(nearest) == 1 else "they are"
        listed = "" if len(nearest) == 1 else f" {', '.join(nearest)}"
        say(f"error: {PROGRAM} has no command {redact(name)!r}; {hint}{listed}", error=True)
        return 2
    command: Any = importlib.import_module(f"genae_core.commands.{name.replace('-', '_')}")
    return cli(command.Options, command.main, command.__doc__, f"{PROGRAM} {name}", words)


def overview() -> str:
    """The help of `genae` itself: the commands, and where each one's own help is."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND ...",
            "",
            "How good are the samples of a generative autoencoder, and what do k steps of its",
            "encode/decode Markov chain do to them?",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help explains a command and its flags.",
        ]
    )
