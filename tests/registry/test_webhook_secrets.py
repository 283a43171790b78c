"""Webhooks' secrets in the registry's database: sealed, sealed anew, and missed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from sqlalchemy import select

from services.common.clock import utc_now
from services.common.settings import InvalidSettings
from services.common.store.database import Database
from services.common.store.migrations import migrate
from services.common.webhooks.sealing import SecretBox, is_sealed
from services.registry.adapters.database.tables import WEBHOOK
from services.registry.adapters.database.transaction import SqlRegistryTx
from services.registry.adapters.database.webhooks import seal_stored
from services.registry.core.use_cases.webhooks import create_webhook
from services.registry.core.webhooks import WebhookFormat
from services.registry.wiring import MIGRATIONS
from tests.registry.test_api_webhooks import create, update
from tests.support.eventually import eventually
from tests.support.receiver import OTHER_SECRET, SECRET, receiving
from tests.support.registry_api import running_registry

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


async def stored(folder: Path, **changes):
    """The secrets of the one webhook in a registry's database, changed first."""
    database = Database(f"sqlite:///{folder / 'metadata.db'}")
    try:
        if changes:
            await database.write(lambda tx: tx.execute(WEBHOOK.update().values(**changes)))
        row = await database.read(lambda tx: tx.execute(select(WEBHOOK)).one())
        return row.secret, row.previous_secret
    finally:
        database.close()


async def signs(caller, receiver, secret, model):
    """Whether the event of a new model comes signed with the secret."""
    receiver.received.clear()
    await caller.create_model(model)
    await eventually(lambda: "model.created" in receiver.types)
    return receiver.received[-1].is_signed_by(secret)


async def test_no_secret_stands_in_the_clear_and_messages_are_signed_across_restarts(
    tmp_path, receiver
):
    async with running_registry(tmp_path) as caller:
        made = await create(caller, receiver.url)
        made.secret = OTHER_SECRET
        await update(caller, made, "secret")
        assert await signs(caller, receiver, OTHER_SECRET, "first")
        assert receiver.received[-1].is_signed_by(SECRET)
    kept = await stored(tmp_path)
    assert all(map(is_sealed, kept))
    files = [each.read_bytes() for each in tmp_path.rglob("metadata.db*")]
    assert not any(
        secret.removeprefix("whsec_").encode() in each
        for each in files
        for secret in (SECRET, OTHER_SECRET)
    )
    async with running_registry(tmp_path) as caller:
        assert await signs(caller, receiver, OTHER_SECRET, "second")
    assert await stored(tmp_path) == kept


async def test_secrets_from_before_there_was_a_key_are_sealed_at_the_start(tmp_path, receiver):
    async with running_registry(tmp_path) as caller:
        await create(caller, receiver.url)
    await stored(tmp_path, secret=SECRET)
    async with running_registry(tmp_path) as caller:
        assert await signs(caller, receiver, SECRET, "first")
    assert is_sealed((await stored(tmp_path))[0])


async def test_a_new_key_above_the_old_one_seals_all_anew_and_then_suffices(tmp_path, receiver):
    keys = tmp_path / "keys"
    for number, lines in enumerate(((KEY,), (OTHER_KEY, KEY), (OTHER_KEY,))):
        keys.write_text("\n".join(lines))
        async with running_registry(tmp_path / "r", webhook_key_file=keys) as caller:
            if not number:
                await create(caller, receiver.url)
            assert await signs(caller, receiver, SECRET, f"model-{number}")


async def test_without_its_key_a_webhook_waits_until_its_secret_is_set_anew(
    tmp_path, receiver, capfd
):
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    async with running_registry(tmp_path / "r", webhook_key_file=keys) as caller:
        made = await create(caller, receiver.url)
    keys.write_text(OTHER_KEY)
    async with running_registry(tmp_path / "r", webhook_key_file=keys) as caller:
        await caller.create_model("waits")
        await eventually(lambda: "webhook.secret_unreadable" in "".join(capfd.readouterr()))
        assert receiver.received == []
        made.secret = OTHER_SECRET
        await update(caller, made, "secret")
        await eventually(lambda: "model.created" in receiver.types)
        assert receiver.received[0].is_signed_by(OTHER_SECRET)


async def test_a_key_file_that_can_not_be_used_stops_the_start_in_words(tmp_path):
    keys = tmp_path / "keys"
    for text in (None, "no key"):
        if text is not None:
            keys.write_text(text)
        with pytest.raises(InvalidSettings, match="webhook_key_file"):
            async with running_registry(tmp_path / "r", webhook_key_file=keys):
                pass


async def test_stored_secrets_are_sealed_on_both_databases_and_only_once(database_url):
    database = Database(database_url)
    box, again = SecretBox([bytes(range(32))]), SecretBox([bytes(32), bytes(range(32))])
    try:
        await migrate(database, MIGRATIONS)

        def add(connection):
            tx = SqlRegistryTx(connection, utc_now())
            made = create_webhook(
                tx,
                "projects/p/webhooks/w",
                url="https://example.com/hook",
                type_prefixes=(),
                format_=WebhookFormat.CLOUDEVENTS,
                secret=OTHER_SECRET,
                paused=False,
                labels={},
            )
            tx.hooks.replace_secret(made, SECRET)
            tx.finish()

        await database.write(add)
        for known, changed in ((box, 1), (box, 0), (again, 1), (again, 0)):
            assert await database.write(lambda tx, b=known: seal_stored(tx, b)) == changed
        row = await database.read(lambda tx: tx.execute(select(WEBHOOK)).one())
        opened = SecretBox([bytes(32)])
        assert opened.open(row.secret, row.name) == SECRET
        assert opened.open(row.previous_secret, row.name) == OTHER_SECRET
        stranger = SecretBox([b"s" * 32])
        assert await database.write(lambda tx: seal_stored(tx, stranger)) == 0
    finally:
        database.close()
