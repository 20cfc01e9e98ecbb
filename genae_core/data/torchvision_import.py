"""torchvision, imported also where its compiled operators do not fit the installed torch."""

import importlib
import sys
from types import ModuleType
from typing import Any

_MISSING = "operator torchvision::nms does not exist"
_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Any = None  # the schemas live as long as this reference


def torchvision_datasets() -> ModuleType:
    """`torchvision.datasets`.

    A CPU build of torch cannot load the operators of a CUDA build of torchvision, and the import
    then fails on the missing schemas of `nms` and `qnms`. Only in that case they are declared
    (declared, not implemented: nothing here runs them) and torchvision is imported again.
    Raises ImportError where torchvision is not installed.
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
    import torch  # here, so that nothing waits for it that needs no torchvision

    global _library
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            _library.define(operator + _SCHEMA)
