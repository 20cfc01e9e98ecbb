"""The one error of the tracking store, and the translation of its libraries' errors into it.

MLflow, SQLAlchemy, the drivers of databases, requests and urllib3 raise many kinds of exceptions,
with messages of many lines. Every call of them stands in `translate_errors`.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from genae_core.config.redaction import redact, redact_uri

if TYPE_CHECKING:
    from requests.exceptions import RequestException

LONGEST = 300  # characters of a library's message
# MLflow's error codes of a store that has understood the call, and will not take it later either.
REFUSALS = (
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
)
PACKAGES = {  # of a database's driver, by the beginning of the URI
    "mysql": "pymysql (and write mysql+pymysql://)",
    "mssql": "pyodbc (and write mssql+pyodbc://)",
    "postgresql": "psycopg[binary] (and write postgresql+psycopg://)",
}


class StoreError(OSError):
    """The tracking store did not do what it was asked to do.

    Attributes:
        refused: Whether the store has answered, and would give the same answer again.
    """

    refused = False


class MissingRunError(StoreError):
    """The store has no run of a journal, most likely because somebody deleted it."""

    refused = True


@contextlib.contextmanager
def translate_errors(uri: str, what: str = "the tracking store") -> Iterator[None]:
    """Raise every error of the block as a StoreError, with one line that names the store.

    Args:
        uri: The tracking URI, or the URI of another database.
        what: What the URI names.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # A client, a driver and a network can raise anything.
        failure = StoreError(f"{what} {redact_uri(uri)}: {describe(error, uri)}")
        failure.refused = getattr(error, "error_code", None) in REFUSALS
        raise failure from error


def describe(error: BaseException, uri: str) -> str:
    """Say in one line what a library's error means.

    Args:
        error: The error.
        uri: The tracking URI.

    Returns:
        The line, without passwords.
    """
    # Only who has an error waits for these imports.
    import requests  # noqa: PLC0415
    import sqlalchemy.exc  # noqa: PLC0415
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, requests.exceptions.RequestException):
            return _describe_request(cause)
        if isinstance(cause, sqlalchemy.exc.NoSuchModuleError | ModuleNotFoundError):
            return _describe_driver(cause, uri)
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return _one_line(error.orig)
    status = getattr(error, "get_http_status_code", lambda: None)()
    if isinstance(error, MlflowException) and status in (401, 403):
        return (
            f"it refuses the user or the password (status {status}): write "
            "http://USER:PASSWORD@HOST, or set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    text = _one_line(error)
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return (
            "its tables are of another version of MLflow. If they are older, back the database up "
            "and run `mlflow db upgrade URI`. If they are newer, install that MLflow, or use "
            f"another store ({text})"
        )
    return text


def _describe_request(error: "RequestException") -> str:
    """Say what a failed HTTP request means."""
    import requests  # noqa: PLC0415

    kinds = requests.exceptions
    if isinstance(error, kinds.ProxyError):
        return "the proxy of HTTP_PROXY or HTTPS_PROXY does not pass the request on"
    if isinstance(error, kinds.SSLError):
        return f"no secure connection could be made: {_one_line(error)}"
    if isinstance(error, kinds.Timeout):
        return "it does not answer in time"
    if isinstance(error, kinds.InvalidURL | kinds.MissingSchema | kinds.InvalidSchema):
        return f"this is no valid address: {_one_line(error)}"
    if isinstance(error, kinds.ConnectionError | kinds.ChunkedEncodingError):
        text = str(error)
        if "resolve" in text or "Name or service" in text:
            return "it does not answer: there is no host of this name"
        if "refused" in text:
            return "it does not answer: the connection is refused"
        if "timed out" in text:
            return "it does not answer in time"
        return f"it does not answer: {_one_line(error)}"
    return _one_line(error)


def _describe_driver(error: BaseException, uri: str) -> str:
    """Say which package of a database's driver is missing."""
    scheme = uri.split(":", 1)[0].split("+", 1)[0]
    if scheme not in PACKAGES:
        return (
            f"{scheme!r} is no kind of store that MLflow knows ({_one_line(error)}): write "
            "http(s)://HOST:PORT or sqlite:///PATH"
        )
    return (
        f"the driver of this kind of database is not installed ({_one_line(error)}): install "
        f"{PACKAGES[scheme]}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and the errors from which it comes."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: Any) -> str:
    """The message of an error in one line, without passwords."""
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
