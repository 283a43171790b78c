"""What attempts cost, who pays, and how much they may."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.common.store.types import UtcDateTime

revision = "t0003"
down_revision = "t0002"
branch_labels = None
depends_on = None

_JOB = sa.table("training_job", sa.column("name"), sa.column("spec", sa.JSON), sa.column("model"))


def upgrade() -> None:
    """Jobs from before had no price: they cost nothing, and nobody pays."""
    _add(
        "training_job",
        sa.Column("owner", sa.String(64), nullable=False, server_default="nobody"),
        sa.Column("model", sa.String(512), nullable=False, server_default=""),
        sa.Column("budget_micros", sa.BigInteger),
        sa.Column("estimate_micros", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("budget_reached", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    _add(
        "attempt",
        sa.Column("rate_micros", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("price_version", sa.String(64), nullable=False, server_default=""),
        sa.Column("charged_s", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("granted_s", sa.BigInteger, nullable=False, server_default="0"),
    )
    connection = op.get_bind()
    for name, spec in connection.execute(sa.select(_JOB.c.name, _JOB.c.spec)).all():
        update = _JOB.update().where(_JOB.c.name == name)
        connection.execute(update.values(model=spec["model"]))
    op.create_index("ix_training_job_model", "training_job", ["model", "state", "update_time"])
    op.create_table(
        "charge",
        sa.Column("job_uid", sa.String(36), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("tick", sa.Integer, primary_key=True),
        sa.Column("project", sa.String(128), nullable=False),
        sa.Column("job", sa.String(256), nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=False),
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        sa.Column("price_version", sa.String(64), nullable=False),
    )
    op.create_index("ix_charge_owner", "charge", ["project", "owner", "month"])
    op.create_table(
        "owner_budget",
        sa.Column("project", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("monthly_micros", sa.BigInteger, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )


def _add(name: str, *columns: sa.Column[object]) -> None:
    """Add columns; their defaults are for the rows that are there, not for later ones."""
    with op.batch_alter_table(name) as table:
        for column in columns:
            table.add_column(column)
    with op.batch_alter_table(name) as table:
        for column in columns:
            table.alter_column(column.name, server_default=None)
