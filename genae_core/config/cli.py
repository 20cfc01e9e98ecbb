"""The command line of every script: its flags, the signals that end it, and the one place at which
its errors end."""

import contextlib
import dataclasses
import functools
import io
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, Literal, TypeVar

import tyro
from threadpoolctl import ThreadpoolController
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from genae_core.config.console import flush_output
from genae_core.config.errors import DEBUG, print_error, short_logs
from genae_core.config.machine import usable_cpus
from genae_core.config.redaction import redact, redact_uri
from genae_core.config.stop_signals import StopSignals, end_at_signal, restore, stop_at_once

T = TypeVar("T")
REGISTRY = ConstructorRegistry()  # how the flags are read whose types tyro would read otherwise


def cli(options: type[T], main: Callable[[T], int], description: str | None) -> int:
    """Parse the flags and run `main`. No error leaves as a traceback, unless --debug asks for it.

    Args:
        options: The dataclass of the flags.
        main: The script; it returns its exit status.
        description: The help text above the flags.

    Returns:
        The exit status of `main`. After an error it is the status of `print_error`, which prints
        the error's message. SIGTERM and SIGHUP are handled as Ctrl-C.
    """
    global _running
    restore(_WHILE_IMPORTING)
    _running = True
    try:
        with StopSignals(), short_logs():
            flags: Any = options
            parsed: Any = _parse(with_debug(flags), description)
            if parsed.debug:
                os.environ[DEBUG] = "1"  # for the processes that the script starts, too
            _limit_threads()
            # The script gets its own class, which can be sent to other processes.
            names = [field.name for field in dataclasses.fields(flags)]
            status = main(options(**{name: getattr(parsed, name) for name in names}))
    except (Exception, KeyboardInterrupt) as error:
        status = print_error(error)
    finally:
        _running = False
        flush_output()
    if _WHILE_IMPORTING:
        end_at_signal(status)
    return status


def is_running() -> bool:
    """Whether this process is a script that `cli` runs."""
    return _running


@functools.cache
def with_debug(options: Any) -> Any:
    """The dataclass of a script's flags, and the flag --debug that every script has."""
    text = f"Show the traceback of an error, as {DEBUG}=1 does."
    debug = ("debug", Annotated[bool, tyro.conf.arg(help=text)], False)
    return dataclasses.make_dataclass(
        options.__name__,
        [debug],
        bases=(options,),
        namespace={"__module__": options.__module__},
        frozen=True,
        kw_only=True,
    )


@REGISTRY.primitive_rule
def _switch_or_auto(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How a flag of the type `bool | Literal["auto"]` is read: as a switch, or with "auto"."""
    if info.type != bool | Literal["auto"]:
        return None
    return PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar="[auto]",
        instance_from_str=lambda words: words[0] if words else True,
        is_instance=lambda value: value in (True, False, "auto"),
        str_from_instance=lambda value: {True: [], False: ["off"]}.get(value, ["auto"]),
        choices=("auto",),
    )


def _parse(options: type[T], description: str | None) -> T:
    """Parse the flags.

    What tyro prints about a wrong flag repeats it, perhaps in several lines. If a flag holds a
    password, the flags are therefore parsed again without it, and what is printed then is shown.
    """
    words = sys.argv[1:]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(options, description=description, args=words, registry=REGISTRY)
    except SystemExit:
        without_passwords = [redact_uri(word) for word in words]
        if without_passwords != words:
            printed = io.StringIO()
            with contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
                tyro.cli(
                    options, description=description, args=without_passwords, registry=REGISTRY
                )
        raise
    finally:
        print(redact(printed.getvalue()), end="", file=sys.stderr)


def _limit_threads() -> None:
    """Let this process compute with at most as many threads as it may use CPUs.

    Its libraries do not know the quota of a control group, and a thread for each CPU of a large
    machine is many times slower.
    """
    cpus = usable_cpus()
    torch = sys.modules.get("torch")  # every script that computes has imported it
    if torch is not None and torch.get_num_threads() > cpus:
        torch.set_num_threads(cpus)
    for library in ThreadpoolController().lib_controllers:  # of NumPy, SciPy and scikit-learn
        if library.num_threads > cpus:
            library.set_num_threads(cpus)


def _imported_by_script() -> bool:
    """Whether the script that Python was started with imports this module.

    Scripts import it before the large modules.
    """
    if sys.argv[0] not in sys.orig_argv:
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


_running = False
_WHILE_IMPORTING = stop_at_once() if _imported_by_script() else {}
