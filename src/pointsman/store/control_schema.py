"""Tables of the control plane. Their evidence-side neighbours have a schema file of their own.

Times are Unix milliseconds, UTC. Digests and hashes are lowercase hex. `target` and `project` are
`tenant/project` (a kill switch may name `tenant/project/variant`).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()

project = Table(
    "project",
    metadata,
    Column("project", Text, primary_key=True),
    Column("tenant", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    # Of the newest revision. It outlives a deletion, so that numbers never repeat.
    Column("number", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)

revision = Table(
    "revision",
    metadata,
    Column("project", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("parent", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("restores", Integer),
    Column("spec", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("table_digest", Text, nullable=False, index=True),
    Column("blobs", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["project"], ["project.project"]),
)

published_table = Table(
    "published_table",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("digest", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
)

artifact = Table(
    "artifact",
    metadata,
    # Hash of everything preparation depends on: pinned source, classes, wanted features.
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("ix_audit_target", "target", "seq"),
)

admin_token = Table(
    "admin_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    # Empty: every tenant.
    Column("tenant", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

data_key = Table(
    "data_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("tenant", Text, nullable=False, index=True),
    Column("permissions", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

kill_switch = Table(
    "kill_switch",
    metadata,
    Column("target", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

proposal = Table(
    "proposal",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("from_source", Text, nullable=False),
    Column("to_source", Text, nullable=False),
    Column("from_version", Text, nullable=False),
    Column("to_version", Text, nullable=False),
    # open | accepted | dismissed | superseded | refused
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger),
    Column("decided_by", Text, nullable=False),
    Index("ix_proposal_project", "project", "state"),
)

watch = Table(
    "registry_watch",
    metadata,
    Column("asked", Text, primary_key=True),
    Column("registry", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    # Why the last look failed; empty where it did not.
    Column("error", Text, nullable=False),
)

rollout = Table(
    "rollout",
    metadata,
    Column("project", Text, primary_key=True),
    # Goes up with every change: a state is only written over the one it came from.
    Column("number", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

rollout_judging = Table(
    "rollout_judging",
    metadata,
    Column("project", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    # What was folded so far (controller/judging.py).
    Column("body", LargeBinary, nullable=False),
)

rollout_command = Table(
    "rollout_command",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("full", Boolean, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    # Null until it is carried out or refused.
    Column("accepted", Boolean),
    Column("sentence", Text, nullable=False),
    Index("ix_rollout_command_project", "project", "accepted"),
)

rollout_candidate = Table(
    "rollout_candidate",
    metadata,
    Column("project", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    # The version an alias moved to, prepared and proved, as it would stand in the table.
    Column("pinned", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

rollout_publication = Table(
    "rollout_publication",
    metadata,
    Column("project", Text, primary_key=True),
    Column("publication", Integer, primary_key=True),
    # Of the revision that carries it.
    Column("revision", Integer, nullable=False),
)

look = Table(
    "rollout_look",
    metadata,
    Column("project", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("verdict", Text, nullable=False),
    # Of the difference to the champion; null where nothing is known yet, or it is unbounded.
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("bound", Float, nullable=False),
    Column("unit", Text, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("n_champion", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How the evidence of a rollout's criteria stood when it was looked at, thinned out."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    # publish | set_alias | notify
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
    Column("tries", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    # Why the last try failed; empty where it did not.
    Column("error", Text, nullable=False),
    Index("ix_outbox_open", "project", "done_ms", "id"),
)
"""What has been decided and is still to be done: written with the decision, done until it is."""

plan = Table(
    "plan",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("project", Text, nullable=False),
    # The revision it changes.
    Column("base", Integer, nullable=False),
    # What it is over (controller/blast.py).
    Column("body", LargeBinary, nullable=False),
    Column("author", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_plan_project", "project", "base"),
)
"""Changes that are over a limit, written once."""

plan_approval = Table(
    "plan_approval",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

reference = Table(
    "reference",
    metadata,
    Column("project", Text, primary_key=True),
    # Digest of its body.
    Column("id", Text, primary_key=True),
    Column("made_ms", BigInteger, nullable=False),
    # Who declared it; empty where it was made of the first decisions of a version.
    Column("actor", Text, nullable=False),
    # Of the champion that answered its rows; empty where none did.
    Column("version", Text, nullable=False),
    # `judge.profile.Profile` as JSON.
    Column("body", LargeBinary, nullable=False),
)
"""What inputs and answers are compared with, written once."""

reference_row = Table(
    "reference_row",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_reference_row", "project", "version"),
)
"""First decisions of a champion, until there are enough of them for a reference."""

drift_alarm = Table(
    "drift_alarm",
    metadata,
    Column("project", Text, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("psi", Float, nullable=False),
    Column("bound", Float, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("sentence", Text, nullable=False),
)
"""What drifted in which hour or day, told once."""

alert = Table(
    "alert",
    metadata,
    Column("id", Text, primary_key=True),
    # `tenant/project`; empty where it is about the installation.
    Column("project", Text, nullable=False),
    Column("state", Text, nullable=False),
    # When its state was last another one.
    Column("changed_ms", BigInteger, nullable=False),
    # The whole of it (alerts/machine.py).
    Column("body", LargeBinary, nullable=False),
    Index("ix_alert_state", "state", "project", "changed_ms"),
)
"""Incidents: pending, firing, and for a while resolved ones."""

alert_told = Table(
    "alert_told",
    metadata,
    Column("alert", Text, primary_key=True),
    Column("receiver", Text, primary_key=True),
    Column("event", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
"""What each receiver was told last of each alert, or is about to be."""

alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    # The message as it is sent each time (alerts/message.py).
    Column("body", LargeBinary, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    # Until then somebody is sending it; 0 where nobody is.
    Column("claimed_ms", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    # Why the last try failed; empty where it did not.
    Column("error", Text, nullable=False),
    Column("done_ms", BigInteger),
    # sent | given_up; empty while it is under way.
    Column("outcome", Text, nullable=False),
    Index(
        "ix_alert_delivery_open",
        "receiver",
        "project",
        unique=True,
        sqlite_where=text("done_ms IS NULL"),
    ),
    Index("ix_alert_delivery_done", "receiver", "done_ms"),
)
"""Messages: one under way for a receiver and a project, so there can never be many."""
