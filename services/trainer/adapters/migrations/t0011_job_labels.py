"""Jobs by their labels."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from services.common.names import parent_of
from services.common.store.labels import label_columns, label_values
from services.common.store.types import UtcDateTime

revision = "t0011"
down_revision = "t0010"
branch_labels = None
depends_on = None

_JOBS_AT_ONCE: Final = 1000


def upgrade() -> None:
    """Note the labels of jobs from before."""
    table = op.create_table(
        "job_label",
        *label_columns(
            sa.Column("name", sa.String(256), primary_key=True),
            sa.Column("create_time", UtcDateTime, nullable=False),
        ),
    )
    jobs = sa.table(
        "training_job",
        sa.column("name"),
        sa.column("create_time", UtcDateTime),
        sa.column("labels", sa.JSON),
    )
    connection, after = op.get_bind(), ""
    while True:
        query = sa.select(jobs).where(jobs.c.name > after).order_by(jobs.c.name)
        found = connection.execute(query.limit(_JOBS_AT_ONCE)).all()
        if not found:
            break
        after = found[-1].name
        rows = [
            row
            for job in found
            for row in label_values(
                parent_of(job.name), job.labels, {"name": job.name, "create_time": job.create_time}
            )
        ]
        if rows:
            op.bulk_insert(table, rows)
    op.create_index("ix_job_label_by_time", "job_label", ["parent", "label", "create_time", "name"])
    op.create_index("ix_job_label_by_name", "job_label", ["parent", "label", "name"])
