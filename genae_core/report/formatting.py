"""Numbers, coordinates and names as people read them."""

import math
from collections.abc import Mapping


def decimals(value: float) -> int:
    """Return the number of digits after the point that suits a value of any scale.

    >>> [decimals(value) for value in (0, 4210.3, 42.1, 4.21, 0.42, 0.0042)]
    [2, 0, 1, 2, 2, 4]
    """
    if abs(value) >= 10:
        return 1 if abs(value) < 1000 else 0
    return 2 if value == 0 or abs(value) >= 0.1 else 1 - math.floor(math.log10(abs(value)))


def format_value(value: object) -> str:
    """Return a coordinate of a cell as text. A float has three significant digits.

    >>> format_value(0.25), format_value(1 / 3), format_value(10), format_value("ring")
    ('0.25', '0.333', '10', 'ring')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def coordinate_words(values: Mapping[str, object]) -> str:
    """Return a cell's coordinates as text: the family first, the others by name.

    >>> coordinate_words({"noise": 0.5, "family": "vae"})
    'vae noise=0.5'
    """
    names = sorted(values, key=lambda name: (name != "family", name))
    return " ".join(
        str(values[name]) if name == "family" else f"{name}={format_value(values[name])}"
        for name in names
    )


def class_words(name: str) -> str:
    """Return the name of a class as lower-case words.

    >>> class_words("EncodeDecode")
    'encode decode'
    """
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
