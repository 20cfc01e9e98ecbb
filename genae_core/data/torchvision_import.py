"""An import of torchvision that works even if its operators do not fit the installed torch."""

import importlib
import sys
from types import ModuleType
from typing import Any

_MISSING = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Any = None  # The schemas exist as long as this reference.


def torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets`.

    A CPU build of torch cannot load the operators of a CUDA build of torchvision. The import then
    fails, because the schemas of `nms` and `qnms` are missing. Only in that case, this function
    declares the schemas and imports torchvision again. It declares no implementations, because
    genae never runs them. Raises ImportError if torchvision is not installed.
    """
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    _declare_operators()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    return importlib.import_module("torchvision.datasets")


def _declare_operators() -> None:
    """Declare the schemas of torchvision's operators, once."""
    import torch  # The import is slow, and most users do not need torchvision.

    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            _library.define(operator + _SCHEMA)
