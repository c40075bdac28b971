"""Clips, objects, points, what people and trackers say about them, and the log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_table(
        "clips",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("relative", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("video", sa.Text(), nullable=False),
        sa.Column("times", sa.LargeBinary(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_clips"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "objects",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("clip", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["clip"], ["clips.id"], name="fk_objects_clip"),
        sa.PrimaryKeyConstraint("id", name="pk_objects"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_objects_clip_layer", "objects", ["clip", "layer"])
    op.create_table(
        "boxes",
        sa.Column("object", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("frame", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("x0", sa.Double(), nullable=False),
        sa.Column("y0", sa.Double(), nullable=False),
        sa.Column("x1", sa.Double(), nullable=False),
        sa.Column("y1", sa.Double(), nullable=False),
        sa.Column("author", sa.Integer(), nullable=True),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["object"], ["objects.id"], name="fk_boxes_object"),
        sa.PrimaryKeyConstraint("object", "frame", name="pk_boxes"),
    )
    op.create_table(
        "points",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("clip", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("grouping", sa.Text(), nullable=False),
        sa.Column("colour", sa.Text(), nullable=False),
        sa.Column("object", sa.Integer(), nullable=True),
        sa.Column("origin", sa.Integer(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("author", sa.Integer(), nullable=True),
        sa.Column("created", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["clip"], ["clips.id"], name="fk_points_clip"),
        sa.ForeignKeyConstraint(["object"], ["objects.id"], name="fk_points_object"),
        sa.ForeignKeyConstraint(["origin"], ["points.id"], name="fk_points_origin"),
        sa.PrimaryKeyConstraint("id", name="pk_points"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_points_clip_layer", "points", ["clip", "layer"])
    op.create_table(
        "keyframes",
        sa.Column("point", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("frame", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("x", sa.Double(), nullable=False),
        sa.Column("y", sa.Double(), nullable=False),
        sa.Column("visible", sa.Boolean(), nullable=False),
        sa.Column("author", sa.Integer(), nullable=True),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["point"], ["points.id"], name="fk_keyframes_point"),
        sa.PrimaryKeyConstraint("point", "frame", name="pk_keyframes"),
    )
    op.create_table(
        "arrivals",
        sa.Column("point", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("frame", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("left_x", sa.Double(), nullable=True),
        sa.Column("left_y", sa.Double(), nullable=True),
        sa.Column("right_x", sa.Double(), nullable=True),
        sa.Column("right_y", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["point"], ["points.id"], name="fk_arrivals_point"),
        sa.PrimaryKeyConstraint("point", "frame", name="pk_arrivals"),
    )
    op.create_table(
        "visibility",
        sa.Column("point", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("start", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("stop", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("author", sa.Integer(), nullable=True),
        sa.Column("time", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["point"], ["points.id"], name="fk_visibility_point"),
        sa.PrimaryKeyConstraint("point", "start", name="pk_visibility"),
    )
    op.create_table(
        "skeletons",
        sa.Column("clip", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("layer", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("links", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["clip"], ["clips.id"], name="fk_skeletons_clip"),
        sa.PrimaryKeyConstraint("clip", "layer", name="pk_skeletons"),
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("tracker", sa.Text(), nullable=False),
        sa.Column("weights_hash", sa.Text(), nullable=False),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.UniqueConstraint("tracker", "weights_hash", "provenance", name="uq_sources_tracker_weights_hash_provenance"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("clip", sa.Integer(), nullable=False),
        sa.Column("layer", sa.Integer(), nullable=False),
        sa.Column("author", sa.Integer(), nullable=True),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("points", sa.Text(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=True),
        sa.Column("stop", sa.Integer(), nullable=True),
        sa.Column("undone_by", sa.Integer(), nullable=True),
        sa.Column("redone_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["clip"], ["clips.id"], name="fk_events_clip"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_clip_layer_author", "events", ["clip", "layer", "author"])
    op.create_index("ix_events_clip_revision", "events", ["clip", "revision"])
    op.create_table(
        "blocks",
        sa.Column("point", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("block", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["point"], ["points.id"], name="fk_blocks_point"),
        sa.PrimaryKeyConstraint("point", "block", name="pk_blocks"),
    )
    op.create_table(
        "kept",
        sa.Column("event", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("point", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("block", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("writer", sa.Integer(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["event"], ["events.id"], name="fk_kept_event"),
        sa.PrimaryKeyConstraint("event", "point", "block", name="pk_kept"),
    )
