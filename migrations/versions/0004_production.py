"""Production: limits and audit, single events, jobs with a priority, rollouts and what they measure."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# In place on both databases, see 0002.


def upgrade() -> None:
    _tenancy()
    _events()
    _jobs()
    _traffic()


def _tenancy() -> None:
    op.add_column("api_keys", _moment("expires_at"))
    op.add_column("tenants", sa.Column("limits", sa.JSON(), server_default="{}", nullable=False))
    op.create_table(
        "audit",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_label", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_tenant_id", "audit", ["tenant_id"])


def _events() -> None:
    op.add_column("channels", _counter("pending_events"))
    op.add_column("channels", _moment("settled_at"))
    op.add_column("interactions", sa.Column("event_id", sa.Text(), nullable=True))
    op.create_index(
        "ix_interactions_channel_id_event_id", "interactions", ["channel_id", "event_id"], unique=True
    )


def _jobs() -> None:
    op.add_column("training_jobs", _counter("priority"))
    op.add_column("training_jobs", _counter("failures"))
    op.add_column("training_jobs", _moment("not_before"))
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        _moment("started_at", nullable=False),
        _moment("seen_at", nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )
    _channel_table(
        "training_policies",
        [],
        sa.Column("every_seconds", sa.Integer(), nullable=True),
        sa.Column("after_interactions", sa.Integer(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("interactions", sa.BigInteger(), nullable=False),
        _moment("last_job_at"),
        _moment("updated_at", nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
    )


def _traffic() -> None:
    op.add_column("alias_history", sa.Column("detail", sa.JSON(), server_default="{}", nullable=False))
    # SQLite makes the table anew for this, which takes nothing along: nothing refers to a history.
    with op.batch_alter_table("alias_history") as history:
        history.alter_column("to_version", existing_type=sa.Integer(), nullable=True)
    _channel_table(
        "rollouts",
        [],
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("rule", sa.JSON(), nullable=False),
        _moment("started_at", nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
    )
    _channel_table(
        "guards",
        [],
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Integer(), nullable=False),
        sa.Column("rule", sa.JSON(), nullable=False),
        _moment("started_at", nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
    )
    _channel_table(
        "impressions",
        ["minute", "version", "variant"],
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("recommendations", sa.BigInteger(), nullable=False),
    )
    _channel_table(
        "clicks",
        ["recommendation_id", "item_id"],
        sa.Column("recommendation_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_clicks_channel_id_at", "clicks", ["channel_id", "at"])
    _channel_table(
        "shadow_results",
        ["minute", "version"],
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("queries", sa.BigInteger(), nullable=False),
        sa.Column("overlap", sa.Double(), nullable=False),
        sa.Column("same_first", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "duties",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        _moment("expires_at", nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_duties"),
    )


def downgrade() -> None:
    op.execute("DELETE FROM alias_history WHERE to_version IS NULL")
    with op.batch_alter_table("alias_history") as history:
        history.alter_column("to_version", existing_type=sa.Integer(), nullable=False)
    op.drop_column("alias_history", "detail")
    traffic = ("duties", "shadow_results", "clicks", "impressions", "guards", "rollouts")
    for table in (*traffic, "training_policies"):
        op.drop_table(table)
    op.drop_table("workers")
    for column in ("not_before", "failures", "priority"):
        op.drop_column("training_jobs", column)
    op.drop_index("ix_interactions_channel_id_event_id", "interactions")
    op.drop_column("interactions", "event_id")
    op.drop_column("channels", "settled_at")
    op.drop_column("channels", "pending_events")
    op.drop_table("audit")
    op.drop_column("tenants", "limits")
    op.drop_column("api_keys", "expires_at")


def _channel_table(name: str, key: list[str], *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("channel_id", sa.Text(), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=f"fk_{name}_channel_id_channels", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("channel_id", *key, name=f"pk_{name}"),
    )


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def _moment(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
