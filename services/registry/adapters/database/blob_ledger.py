"""Who relies on which stored content."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, select, true

from services.registry.adapters.database.tables import (
    BLOB_CLAIM,
    BLOB_REFERENCE,
    BLOB_SENTENCE,
    UPLOAD,
)
from services.registry.core.retention.fence import Claim, Sentence

_PER_QUERY: Final = 500  # below SQLite's and PostgreSQL's limits on parameters


class SqlBlobLedger:
    """`BlobLedger` on SQLite and PostgreSQL.

    Args:
        connection: The transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def referrers(self, digest: str) -> Sequence[str]:
        """See `BlobLedger`."""
        owners = self._connection.execute(
            select(BLOB_REFERENCE.c.owner).where(BLOB_REFERENCE.c.digest == digest)
        ).scalars()
        uploads = self._connection.execute(
            select(UPLOAD.c.version).where(UPLOAD.c.digest == digest)
        ).scalars()
        return list(dict.fromkeys([*owners, *uploads]))

    def relied_on(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        """See `BlobLedger`."""
        referred = self._present(digests, BLOB_REFERENCE.c.digest, true())
        uploaded = self._present(digests, UPLOAD.c.digest, true())
        return referred | uploaded | self.claimed(digests, now)

    def claimed(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        """See `BlobLedger`."""
        return self._present(digests, BLOB_CLAIM.c.digest, BLOB_CLAIM.c.expire_time > now)

    def _present(
        self, digests: Sequence[str], column: Column[str], where: ColumnElement[bool]
    ) -> frozenset[str]:
        found: set[str] = set()
        for part in _batched(digests):
            rows = self._connection.execute(select(column).where(column.in_(part), where))
            found.update(rows.scalars())
        return frozenset(found)

    def claims_on(self, digest: str) -> Sequence[Claim]:
        """See `BlobLedger`."""
        rows = self._connection.execute(select(BLOB_CLAIM).where(BLOB_CLAIM.c.digest == digest))
        return [Claim(row.uid, row.digest, row.holder, row.expire_time) for row in rows]

    def add_claim(self, claim: Claim) -> None:
        """See `BlobLedger`."""
        self._connection.execute(BLOB_CLAIM.insert().values(asdict(claim)))

    def drop_claim(self, uid: str) -> bool:
        """See `BlobLedger`."""
        dropped = self._connection.execute(BLOB_CLAIM.delete().where(BLOB_CLAIM.c.uid == uid))
        return dropped.rowcount == 1

    def drop_claims_of(self, holder: str) -> None:
        """See `BlobLedger`."""
        self._connection.execute(BLOB_CLAIM.delete().where(BLOB_CLAIM.c.holder == holder))

    def prolong_claims(self, uids: Collection[str], expire_time: datetime) -> None:
        """See `BlobLedger`."""
        for part in _batched(list(uids)):
            self._connection.execute(
                BLOB_CLAIM.update()
                .where(BLOB_CLAIM.c.uid.in_(part))
                .values(expire_time=expire_time)
            )

    def sentence(self, digest: str) -> Sentence | None:
        """See `BlobLedger`."""
        row = self._connection.execute(
            select(BLOB_SENTENCE).where(BLOB_SENTENCE.c.digest == digest)
        ).one_or_none()
        if row is None:
            return None
        return Sentence(row.digest, row.plan, row.uncertain_until, row.attempts)

    def put_sentence(self, sentence: Sentence) -> None:
        """See `BlobLedger`."""
        self.drop_sentence(sentence.digest)
        self._connection.execute(BLOB_SENTENCE.insert().values(asdict(sentence)))

    def drop_sentence(self, digest: str) -> None:
        """See `BlobLedger`."""
        self._connection.execute(BLOB_SENTENCE.delete().where(BLOB_SENTENCE.c.digest == digest))


def _batched(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _PER_QUERY):
        yield values[start : start + _PER_QUERY]
