"""The client of a cluster's job server."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from genae_core.config.network import check_url


class JobClient(Protocol):
    """What is used of Ray's JobSubmissionClient."""

    def get_address(self) -> str:
        """The address of the job server."""

    def submit_job(
        self, *, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]
    ) -> str:
        """Start a job, and return its id. Raises RuntimeError if the cluster refuses it."""

    def get_job_info(self, job_id: str) -> Any:
        """The status, the message and the exit code of a job."""

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yield the parts of a job's log, until it ends."""


def connect_client(address: str, hint: str) -> JobClient:
    """Return a client of a cluster's job server.

    Ray reads its settings from environment variables when it is imported, so it is imported here.

    Args:
        address: The URL of the dashboard.
        hint: What to do if the cluster does not accept the token.

    Raises:
        ValueError: No Ray dashboard answers at the address, or it does not accept the token.
    """
    from ray.exceptions import AuthenticationError  # noqa: PLC0415
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    try:
        check_url(f"{address}/api/version")  # Ray's client would wait without a limit.
        client: JobClient = JobSubmissionClient(address)
        return client
    except AuthenticationError:
        raise ValueError(f"the cluster at {address} asks for a token: {hint}") from None
    except ConnectionError:
        raise ValueError(f"no Ray cluster answers at {address}") from None
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{address} is not the address of a Ray dashboard: {error}") from None
