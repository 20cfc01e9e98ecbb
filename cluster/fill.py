"""Fill the {{NAMES}} of a cluster's file with your values and its token.

The result holds your values, so it is written to GENAE_HOME and not beside the file.

  python cluster/fill.py cluster/aws.yaml Region=eu-west-1 Subnet=subnet-1 ...
  python cluster/fill.py cluster/kuberay/raycluster.yaml Image=registry/genae@sha256:...
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from genae_core.config.cli import cli
from genae_core.config.home import home, secret_file
from genae_core.config.places import locate_fields

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of this script."""

    file: Annotated[Path, tyro.conf.Positional]
    """A file below cluster/."""
    values: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """NAME=VALUE for each {{NAME}} of the file."""

    def __post_init__(self) -> None:
        locate_fields(self, "file")


def names(text: str) -> set[str]:
    """The {{NAMES}} in the text. A {{name}} in a comment of the file is not one of them."""
    return set(re.findall(r"\{\{([A-Z]\w*)\}\}", text))


def fill(text: str, values: dict[str, str]) -> str:
    """The text with each {{NAME}} replaced by its value.

    Raises ValueError if a name has no value, a value has no name in the text, or a value contains
    anything but letters, digits, spaces and _ . / : @ = + ~ -
    """
    required = names(text)
    if missing := sorted(required - set(values)):
        raise ValueError(f"no value for {', '.join(missing)}: give NAME=VALUE")
    if unknown := sorted(set(values) - required):
        raise ValueError(f"the file has no {', '.join(unknown)}; its names are {sorted(required)}")
    for name, value in values.items():
        if not re.fullmatch(r"[\w./:@=+~ -]+", value):
            raise ValueError(f"{name}={value!r} is not a plain value")
    image = values.get("Image", "name:tag")
    # A digest or a tag other than "latest" names the same image tomorrow.
    fixed = r"[^@]+@sha256:[0-9a-f]{64}|[^@]+:(?!latest$)[\w.-]+"
    if not re.fullmatch(fixed, image):
        raise ValueError(f"Image={image} may be another image tomorrow: give its digest or a tag")
    return re.sub(r"\{\{([A-Z]\w*)\}\}", lambda match: values[match[1]], text)


def token_file(name: str) -> Path:
    """GENAE_HOME/NAME.token. The first call creates it; no other user can read it."""
    return secret_file(home() / f"{name}.token")


def main(options: Options) -> int:
    """Write the filled file to GENAE_HOME and print its path."""
    if invalid := [pair for pair in options.values if "=" not in pair]:
        raise ValueError(f"give NAME=VALUE, got {invalid[0]!r}")
    values = dict(pair.split("=", 1) for pair in options.values)
    name, text = options.file.stem, options.file.read_text()
    defaults = {"Repository": str(ROOT), "Token": str(home() / f"{name}.token")}
    filled = fill(text, values | {key: defaults[key] for key in names(text) & set(defaults)})
    if "Token" in names(text):
        print(f"token: {token_file(name)}")
    out = home() / f"{name}.yaml"
    out.touch(mode=0o600)
    out.write_text(filled)
    print(f"filled: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(cli(Options, main, __doc__))
