"""Revisions: what of a channel changed since a reader last looked; tombstones of deleted items."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# In place on both databases, see 0002.


def upgrade() -> None:
    op.add_column("channels", _counter("items_revision"))
    op.add_column("channels", _counter("events_revision"))
    op.add_column("items", _counter("revision"))
    op.create_index("ix_items_channel_id_revision", "items", ["channel_id", "revision"])
    op.create_table(
        "deleted_items",
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name="fk_deleted_items_channel_id_channels", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("channel_id", "item_id", name="pk_deleted_items"),
    )
    op.create_index("ix_deleted_items_channel_id_revision", "deleted_items", ["channel_id", "revision"])


def downgrade() -> None:
    op.drop_table("deleted_items")
    op.drop_index("ix_items_channel_id_revision", "items")
    op.drop_column("items", "revision")
    op.drop_column("channels", "events_revision")
    op.drop_column("channels", "items_revision")


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)
