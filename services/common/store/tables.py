"""The tables that every service has beside its own."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from services.common.store.types import SequenceNumber, UtcDateTime

METADATA: Final = MetaData()

EVENT: Final = Table(
    "event",
    METADATA,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("type", String(128), nullable=False),
    Column("source", String(32), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("time", UtcDateTime, nullable=False),
    Column("correlation_id", String(128), nullable=False),
    Column("causation_id", String(128), nullable=False),
    Column("data", JSON, nullable=False),
    Index("ix_event_correlation", "correlation_id", "seq"),
    Index("ix_event_subject", "subject", "seq"),
    sqlite_autoincrement=True,
)

REQUEST: Final = Table(
    "request",
    METADATA,
    Column("request_id", String(36), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("create_time", UtcDateTime, nullable=False, index=True),
)

LEASE: Final = Table(
    "lease",
    METADATA,
    Column("name", String(512), primary_key=True),
    Column("holder", String(256), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expire_time", UtcDateTime, nullable=False),
)

OUTBOX_CURSOR: Final = Table(
    "outbox_cursor",
    METADATA,
    Column("reader", String(128), primary_key=True),
    Column("cursor", String(64), nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
)

WEBHOOK_DELIVERY: Final = Table(
    "webhook_delivery",
    METADATA,
    Column("seq", SequenceNumber, primary_key=True, autoincrement=True),
    Column("subscription", String(64), nullable=False),
    Column("event_id", String(64), nullable=False),
    Column("event_seq", BigInteger, nullable=False),
    Column("event_type", String(128), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("state", String(16), nullable=False),
    Column("in_line", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("error", String(512), nullable=False),
    Column("next_time", UtcDateTime, nullable=True),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("subscription", "event_id", name="uq_webhook_delivery_event"),
    Index("ix_webhook_delivery_state", "subscription", "state", "seq"),
    sqlite_autoincrement=True,
)
