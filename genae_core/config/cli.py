"""The door of every script: its flags, the signals that end it, and the one place at which its
errors end."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Protocol, TypeVar, runtime_checkable

from threadpoolctl import ThreadpoolController

from genae_core.config.console import flush_output, say
from genae_core.config.errors import DEBUG, print_error, short_logs
from genae_core.config.flags import parse_flags
from genae_core.config.machine import usable_cpus
from genae_core.config.own_code import trust
from genae_core.config.stop_signals import StopSignals, end_at_signal, restore, stop_at_once
from genae_core.config.thread_waiting import choose_thread_waiting, read_cpu_times

T = TypeVar("T")


@runtime_checkable
class Announced(Protocol):
    """The flags of a script that says what it is about to do, before the long imports."""

    def announcement(self) -> str | None:
        """What the script is about to do; None if only something else may be printed."""


def cli(
    options: type[T],
    main: Callable[[T], int],
    description: str | None,
    prog: str | None = None,
    words: Sequence[str] | None = None,
) -> int:
    """Parse the flags and run `main`. No error leaves as a traceback, unless --debug asks for it.

    Args:
        options: The dataclass of the flags.
        main: The script; it returns its exit status.
        description: The help text above the flags.
        prog: The name of the program; None is the name of the script.
        words: The command line without the program; None takes that of the process.

    Returns:
        The exit status of `main`. After an error it is the status of `print_error`, which prints
        the error's message. SIGTERM and SIGHUP are handled as Ctrl-C.
    """
    global _running
    handlers = _WHILE_IMPORTING or stop_at_once()
    _running = True
    try:
        with short_logs():
            try:
                values, common = parse_flags(
                    options, sys.argv[1:] if words is None else words, description, prog
                )
                if common.debug:
                    os.environ[DEBUG] = "1"  # for the processes that the script starts, too
                text = values.announcement() if isinstance(values, Announced) else None
                if text:
                    say(f"{prog or Path(sys.argv[0]).name}: {text}")
                if _WHILE_IMPORTING:
                    choose_thread_waiting(_AT_IMPORT)
                _load(main, shown=bool(text))
                for code in common.trust:
                    trust(code)
                _limit_threads()
            finally:
                restore(handlers)
            with StopSignals():
                status = main(values)
    except (Exception, KeyboardInterrupt) as error:
        status = print_error(error)
    finally:
        _running = False
        flush_output()
    if _WHILE_IMPORTING:
        end_at_signal(status)
    return status


def _load(main: Callable[[Any], int], shown: bool) -> None:
    """Import what the script needs. shown: Whether it is shown that this goes on."""
    if not shown:
        import_names(main)
        return
    from genae_core.config.progress import ProgressDisplay  # noqa: PLC0415

    with ProgressDisplay("loading"):
        import_names(main)


def is_running() -> bool:
    """Whether this process is a script that `cli` runs."""
    return _running


def import_names(main: Callable[[Any], int]) -> None:
    """Import the public names that the functions of the script's module mention.

    A script imports packages of genae, whose public names are imported when they are first used,
    so that its help is printed at once. Here all of them are used, before `main` begins: the
    signals still end the process at once, and a package that is missing is named.
    """
    variables: dict[str, Any] = getattr(main, "__globals__", {})
    packages = [value for value in variables.values() if _is_package_of_genae(value)]
    for function in (value for value in variables.values() if isinstance(value, FunctionType)):
        if function.__globals__ is variables:
            for name in _names_in(function.__code__):
                for package in packages:
                    if name in package.__all__:
                        getattr(package, name)


def _is_package_of_genae(value: Any) -> bool:
    is_module = isinstance(value, ModuleType) and value.__name__.split(".")[0] == "genae_core"
    return is_module and hasattr(value, "__all__")


def _names_in(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in the code, also in the functions inside of it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _limit_threads() -> None:
    """Let this process compute with at most as many threads as it may use CPUs.

    Its libraries do not know the quota of a control group, and a thread for each CPU of a large
    machine is many times slower.
    """
    cpus = usable_cpus()
    torch = sys.modules.get("torch")  # a script that computes has imported it
    if torch is not None and torch.get_num_threads() > cpus:
        torch.set_num_threads(cpus)
    for library in ThreadpoolController().lib_controllers:  # of NumPy, SciPy and scikit-learn
        if library.num_threads > cpus:
            library.set_num_threads(cpus)


def _imported_by_script() -> bool:
    """Whether the script that Python was started with imports this module.

    Scripts import it before the large modules.
    """
    if sys.argv[0] not in sys.orig_argv and "genae_core" not in sys.orig_argv:
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (
        frame.f_code.co_filename.startswith("<frozen importlib")
        or frame.f_globals.get("__name__") == "genae_core.commands.entry"
    ):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__"


_running = False
_AT_IMPORT = read_cpu_times()
_WHILE_IMPORTING = stop_at_once() if _imported_by_script() else {}
