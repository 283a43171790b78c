"""Any script of calls does to each blob store what it does to the one in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.blobs.memory import MemoryBlobStore
from services.common.blobs.port import BlobStore
from services.common.errors import ServiceError
from tests.support.streams import content, stream

KEYS = st.sampled_from(["a", "b/c", "b/d", "e.f/g"])
DATA = st.binary(max_size=8)
ETAGS = st.sampled_from(["absent", "present", "stale"])

RUN = itertools.count()


@dataclass(frozen=True)
class Call:
    method: str
    key: str
    data: bytes = b""
    offset: int = 0
    etag: str = "absent"


CALLS = st.one_of(
    st.builds(Call, st.sampled_from(["put", "create"]), KEYS, DATA),
    st.builds(Call, st.sampled_from(["head", "load", "delete", "list_blobs"]), KEYS),
    st.builds(Call, st.just("read"), KEYS, offset=st.integers(-1, 9)),
    st.builds(Call, st.just("compare_and_swap"), KEYS, DATA, etag=ETAGS),
)


class Player:
    """Plays calls to one store, in a folder that no other run uses, and tells what came."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._folder = f"run-{next(RUN)}"
        self._past_etags: dict[str, list[str]] = {}

    async def play(self, call: Call) -> object:
        try:
            return await self._outcome(call, f"{self._folder}/{call.key}")
        except ServiceError as error:
            return type(error)

    async def _outcome(self, call: Call, key: str) -> object:
        match call.method:
            case "put" | "create":
                return await getattr(self._store, call.method)(key, stream(call.data))
            case "head":
                return (await self._store.head(key)).size_bytes
            case "load":
                found = await self._store.load(key)
                self._past_etags.setdefault(key, []).append(found.etag)
                return found.data
            case "delete":
                return await self._store.delete(key)
            case "list_blobs":
                listed = await self._store.list_blobs(f"{self._folder}/{call.key[0]}")
                return [(i.key.removeprefix(self._folder), i.size_bytes) for i in listed]
            case "read":
                return await content(self._store, key, offset=call.offset)
            case _:
                etag = await self._etag(call, key)
                await self._store.compare_and_swap(key, call.data, etag=etag)
                return "swapped"

    async def _etag(self, call: Call, key: str) -> str | None:
        if call.etag == "stale":
            return next(iter(self._past_etags.get(key, [])), None)
        if call.etag == "present" and await self._store.exists(key):
            return (await self._store.load(key)).etag
        return None


@settings(
    max_examples=25,
    deadline=None,
    # Each run has a folder of its own in the store.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(CALLS, max_size=25))
async def test_every_store_answers_any_script_as_memory_does(
    blob_store: BlobStore, script: list[Call]
):
    model, subject = Player(MemoryBlobStore()), Player(blob_store)
    for call in script:
        assert await subject.play(call) == await model.play(call), call
