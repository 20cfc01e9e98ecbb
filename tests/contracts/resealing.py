"""Changes stored files as somebody would who also computes their digests again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from genae_core.data import sealed


def reseal(path: Path, **changes: Any) -> None:
    """Change values of a sealed file and seal it again."""
    path.write_text(sealed.to_text({**sealed.read(path), **changes}))


def unsealed(path: Path) -> dict[str, Any]:
    """Remove the seal of a file, as in the files of earlier versions, and return its values."""
    values = sealed.read(path)
    path.write_text(json.dumps(values, indent=1) + "\n")
    return values


def digest_of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
