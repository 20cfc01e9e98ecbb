"""The storage of results: journals on disk, their delivery, and the MLflow store."""

import logging
import os

import lazy_loader

# MLflow reads these variables when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# It would print the address of a server at the end of each run, with its password.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# The journal keeps every event on disk, so a failed call need not be repeated for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
# A server may ask to come back in an hour. The delivery has pauses of its own.
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
for _logger in ("alembic", "mlflow.utils.uri"):
    logging.getLogger(_logger).setLevel(logging.WARNING)
# It prints a traceback before it raises an error, whose message genae prints.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
