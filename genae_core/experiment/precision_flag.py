"""The values of the flag --precision, apart from what they choose, which needs torch."""

from typing import Literal

Precision = Literal["auto", "fp32", "fp32-channels-last", "bf16"]
