"""A TCP proxy that cuts its connections after some bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def cutting_proxy(target: str, cuts: Sequence[int]) -> AsyncIterator[str]:
    """The address of a proxy to `target`, both `host:port`.

    Args:
        target: Whom it speaks to.
        cuts: After how many bytes, both ways together, each connection in turn is cut; those
            that come after them are left alone.
    """
    host, _, port = target.rpartition(":")
    left = list(cuts)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = left.pop(0) if left else None
        passed = 0
        other_reader, other_writer = await asyncio.open_connection(host, int(port))

        async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal passed
            with suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    passed += len(data)
                    if budget is not None and passed > budget:
                        return
                    sink.write(data)
                    await sink.drain()

        relays = [
            asyncio.ensure_future(relay(reader, other_writer)),
            asyncio.ensure_future(relay(other_reader, writer)),
        ]
        try:
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in relays:
                each.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            for each in (writer, other_writer):
                each.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
