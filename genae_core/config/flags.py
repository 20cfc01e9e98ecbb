"""The flags of a script: the fields of a dataclass, as tyro reads them from the command line.

The help shows the flags in groups. The script's own flags come first, and then those of each class
from which its dataclass derives, from the nearest to the most general one.
"""

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import re
import sys
import textwrap
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from genae_core.config.errors import DEBUG
from genae_core.config.redaction import redact, redact_uri

T = TypeVar("T")
REGISTRY = ConstructorRegistry()  # how the flags are read whose types tyro would read otherwise


class CommonFlags(NamedTuple):
    """The flags that every script has.

    Attributes:
        debug: Whether errors show their tracebacks.
        trust: The files and modules of the user's own code that are imported first.
    """

    debug: bool
    trust: tuple[str, ...]


def parse_flags(
    options: type[T],
    words: Sequence[str],
    description: str | None = None,
    prog: str | None = None,
) -> "tuple[T, CommonFlags]":
    """Parse a command line.

    What tyro prints about a wrong flag repeats it, perhaps in several lines. If a flag holds a
    password, the flags are therefore parsed again without it, and what is printed then is shown.

    Args:
        options: The dataclass of the flags.
        words: The command line without the program.
        description: The help text above the flags.
        prog: The name of the program; None is the name of the script.

    Returns:
        The flags' values, and those of the flags that every script has.

    Raises:
        SystemExit: The help was printed, or the command line is wrong.
        ValueError: The dataclass refuses a value.
    """
    kind: Any = options
    parse = functools.partial(
        tyro.cli,
        grouped_flags(kind),
        prog=prog,
        description=_keep_examples(description),
        registry=REGISTRY,
    )
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            groups: Any = parse(args=list(words))
    except SystemExit:
        without_passwords = [redact_uri(word) for word in words]
        if without_passwords != list(words):
            printed = io.StringIO()
            with contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
                parse(args=without_passwords)
        raise
    except BrokenPipeError:  # Nobody reads the rest of the help.
        raise SystemExit(0) from None
    finally:
        print(redact(printed.getvalue()), end="", file=sys.stderr)
    values: dict[str, Any] = {}
    for group in dataclasses.fields(groups):
        values |= vars(getattr(groups, group.name))
    common = CommonFlags(values.pop("debug"), values.pop("trust"))
    return options(**values), common


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


@functools.cache
def grouped_flags(options: Any) -> Any:
    """A dataclass that holds the flags in one dataclass for each group, and the common ones."""
    kinds = typing.get_type_hints(options, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(options)}
    groups: list[tuple[str, Any]] = []
    for owner in options.__mro__:
        own = [name for name in fields if name in vars(owner).get("__annotations__", {})]
        members = [_flag(fields.pop(name), kinds[name], _texts(owner)) for name in own]
        if owner is options:
            members += _common_flags()
        if members:
            group = dataclasses.make_dataclass(owner.__name__, members, kw_only=True)
            title = "" if owner is options else owner.__name__.removesuffix("Options").lower()
            about = (owner.__doc__ or "").partition("\n\n")[0]
            place = tyro.conf.arg(name=title, help=" ".join(about.split()))
            groups.append((owner.__name__, Annotated[group, tyro.conf.OmitArgPrefixes, place]))
    return dataclasses.make_dataclass("Flags", groups, kw_only=True)


def _common_flags() -> list[tuple[str, Any, Any]]:
    """The fields of CommonFlags, each with its help and its default."""
    debug = f"Show the traceback of an error, as {DEBUG}=1 does."
    trust = (
        "Import this file or module of yours first, so that what its own classes have trained can "
        "be read (repeatable). Nothing that is stored makes genae import code."
    )
    each: Any = tyro.conf.UseAppendAction[tuple[str, ...]]
    return [
        ("debug", Annotated[bool, tyro.conf.arg(help=debug)], False),
        ("trust", Annotated[each, tyro.conf.arg(help=trust, metavar="FILE|MODULE")], ()),
    ]


def _flag(field: "dataclasses.Field[Any]", kind: Any, texts: dict[str, str]) -> tuple[Any, ...]:
    """The field with its help. A default that the help states in words is not shown again."""
    text = texts.get(field.name, "")
    in_words = field.default is None or "(default" in text
    help_of_field = tyro.conf.arg(help=text, help_behavior_hint="" if in_words else None)
    copy = dataclasses.field(default=field.default, default_factory=field.default_factory)
    return field.name, Annotated[kind, help_of_field], copy


@functools.cache
def _texts(owner: type) -> dict[str, str]:
    """The texts below the fields of a class. The help breaks their lines where it needs to."""
    source = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    assert isinstance(source, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, following in zip(source.body, source.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            texts[ast.unparse(statement.target)] = " ".join(str(text).split())
    return texts


def _keep_examples(description: str | None) -> str | None:
    """The description without the empty line above examples, where tyro would print two."""
    return None if description is None else re.sub(r"\n\n(?= )", "\n", description)
