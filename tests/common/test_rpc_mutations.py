from __future__ import annotations

import asyncio
import uuid

import pytest
from sqlalchemy import text

from services.common.clock import utc_now
from services.common.errors import NotFound
from services.common.rpc.mutations import Mutations
from services.common.store.database import Database
from services.common.store.requests import RequestIdReused
from services.common.store.tables import METADATA
from tests.support.probe import Answer, Ask


class ModelNotFound(NotFound):
    reason = "MODEL_NOT_FOUND"


@pytest.fixture
async def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/probe.db")
    await database.write(METADATA.create_all)
    await database.write(lambda tx: tx.execute(text("CREATE TABLE note (value TEXT)")) and None)
    yield database
    database.close()


@pytest.fixture
def mutations(database):
    return Mutations(database, utc_now)


def request(**fields):
    return Ask(**{"text": "a", "request_id": str(uuid.uuid4()), **fields})


def noting(value):
    def work(tx):
        tx.execute(text("INSERT INTO note VALUES (:value)"), {"value": value})
        return Answer(text=f"noted {value}")

    return work


async def notes(database):
    return await database.read(
        lambda tx: list(tx.execute(text("SELECT value FROM note ORDER BY value")).scalars())
    )


async def test_a_repeat_gets_the_first_answer_and_changes_nothing(database, mutations):
    asked = request()
    first = await mutations.run(asked, Answer, noting("one"))
    again = await mutations.run(asked, Answer, noting("two"))
    assert first == again == Answer(text="noted one")
    assert await notes(database) == ["one"]


async def test_repeats_at_once_change_things_once(database, mutations):
    asked = request()
    answers = await asyncio.gather(
        *(mutations.run(asked, Answer, noting(str(number))) for number in range(8))
    )
    assert len({answer.text for answer in answers}) == 1
    assert len(await notes(database)) == 1


async def test_the_same_id_with_other_content_is_refused(database, mutations):
    asked = request()
    await mutations.run(asked, Answer, noting("one"))
    other = request(request_id=asked.request_id, text="b")
    with pytest.raises(RequestIdReused) as caught:
        await mutations.run(other, Answer, noting("two"))
    assert caught.value.metadata == {"request_id": asked.request_id}
    assert await notes(database) == ["one"]


async def test_a_failure_changes_nothing_and_its_repeat_is_a_new_try(database, mutations):
    def failing(tx):
        noting("half")(tx)
        raise ModelNotFound("No.")

    asked = request()
    with pytest.raises(ModelNotFound):
        await mutations.run(asked, Answer, failing)
    assert await notes(database) == []
    assert (await mutations.run(asked, Answer, noting("whole"))).text == "noted whole"


async def test_validate_only_answers_but_changes_and_remembers_nothing(database, mutations):
    asked = request(validate_only=True)
    assert (await mutations.run(asked, Answer, noting("one"))).text == "noted one"
    assert await notes(database) == []
    real = request(request_id=asked.request_id)
    assert (await mutations.run(real, Answer, noting("two"))).text == "noted two"
    assert await notes(database) == ["two"]


async def test_validate_only_fails_as_the_real_thing_would(database, mutations):
    def failing(tx):
        raise ModelNotFound("No.")

    with pytest.raises(ModelNotFound):
        await mutations.run(request(validate_only=True), Answer, failing)
