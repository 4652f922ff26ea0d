"""Image channels: a channel's modality, and the images of its items."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Both databases change the column in place. Not in Alembic's batch mode: on SQLite that makes the table anew,
# and dropping the old one takes along every row that refers to it.


def upgrade() -> None:
    op.add_column("channels", sa.Column("modality", sa.Text(), server_default="text", nullable=False))
    op.create_table(
        "item_images",
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["channel_id", "item_id"],
            ["items.channel_id", "items.item_id"],
            name="fk_item_images_channel_id_item_id_items",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("channel_id", "item_id", name="pk_item_images"),
    )


def downgrade() -> None:
    op.drop_table("item_images")
    op.drop_column("channels", "modality")
