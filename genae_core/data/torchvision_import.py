"""Import torchvision even if its compiled operators do not fit the installed torch."""

import importlib
import sys
from types import ModuleType
from typing import Any

_MISSING = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Any = None  # the schemas exist as long as this reference


def torchvision_datasets() -> ModuleType:
    """Import `torchvision.datasets`.

    A CPU build of torch cannot load the operators of a CUDA build of torchvision, and the import
    then fails because the schemas of `nms` and `qnms` are missing. Only in that case this
    function declares the schemas (without an implementation, since genae never runs them) and
    imports torchvision again. Raises ImportError if torchvision is not installed.
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
    import torch  # not at the top: a user who needs no torchvision must not wait for it

    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            _library.define(operator + _SCHEMA)
