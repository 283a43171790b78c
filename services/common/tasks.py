"""Background tasks that end with the block that holds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class _End(Exception):
    """Ends a task group from inside."""


@asynccontextmanager
async def background_tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose tasks are cancelled, and awaited, when the block ends.

    A task that fails cancels the block, which then raises the failure. The group has a
    task of its own, so that the block may be left from another task than it was entered.
    """
    block = asyncio.current_task()
    ending = asyncio.Event()
    entered: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()

    async def own() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                entered.set_result(tasks)
                await ending.wait()
                raise _End  # noqa: TRY301 - only a raise inside the group ends it
        except* _End:
            pass

    def stop_block(_: asyncio.Task[None]) -> None:
        if not ending.is_set() and block is not None:
            block.cancel()

    owner = asyncio.ensure_future(own())
    owner.add_done_callback(stop_block)
    try:
        yield await entered
    finally:
        ending.set()
        await owner
