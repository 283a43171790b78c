"""Blocking calls to an S3, in threads of its own, and what their failures mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, TypeVar

from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from services.common.blobs.errors import BlobStoreUnavailable
from services.common.blobs.threads import settled

T = TypeVar("T")

CONNECTIONS: Final = 16
"""To one S3, and threads to use them; more calls wait."""

_QUERY: Final = re.compile(r"\?[^\s'\"]+")


class S3Calls:
    """Runs blocking calls in threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="s3")

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """What `work` gives.

        Raises:
            BlobStoreUnavailable: S3 can't be reached, or waiting may mend what it complains of.
        """
        return await self.result(self.start(work, *args))

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """`work`, begun; it goes on whatever happens to the caller."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    async def result(self, call: asyncio.Future[T]) -> T:
        """What a call gives that was begun; a caller who is cancelled waits for its end.

        Raises:
            BlobStoreUnavailable: As for `run`.
        """
        with s3_errors():
            return await settled(call)

    async def close(self) -> None:
        """Wait for the calls under way."""
        await asyncio.to_thread(self._threads.shutdown)


@contextmanager
def s3_errors() -> Iterator[None]:
    """What waiting may mend is raised as BlobStoreUnavailable, without signatures in its text."""
    try:
        yield
    except HTTPError as error:
        raise BlobStoreUnavailable(_unsigned(error)) from error
    except MinioException as error:
        if _is_temporary(error):
            raise BlobStoreUnavailable(_unsigned(error)) from error
        raise


def _unsigned(error: Exception) -> str:
    return _QUERY.sub("?…", str(error))


def _is_temporary(error: MinioException) -> bool:
    status = HTTPStatus.OK
    if isinstance(error, ServerError):
        status = HTTPStatus(error.status_code)
    elif isinstance(error, S3Error):
        status = HTTPStatus(error.response.status)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
