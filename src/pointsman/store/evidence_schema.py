"""Tables of decisions and of what became known about them.

Times are Unix milliseconds, UTC, as gateways saw them. `project` is `tenant/project`. Unsigned
64-bit hashes are stored as the signed integers of the same bits. JSON columns hold JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()

position = Table(
    "position",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""How far each journal stream is ingested; changed in the transaction that holds its rows."""

fault = Table(
    "fault",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("segment", BigInteger, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    # corrupt | truncated | missing | gap | unknown_kind | unusable
    Column("kind", Text, primary_key=True),
    Column("end", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)
"""What of the journal could not be read or used, and where it still lies."""

archived = Table(
    "archived",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("segment", BigInteger, primary_key=True),
    Column("project", Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""Segments whose records of a project are in the archive, while the segment is still there."""

decision = Table(
    "decision",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("project", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("table_version", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("unit", Text),
    Column("bucket", BigInteger, nullable=False),
    Column("unit_hash", BigInteger, nullable=False),
    Column("context", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("assigned", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("served_reason", Text, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("propensities", Text, nullable=False),
    Column("probabilities", Text, nullable=False),
    Column("predicted", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("cost", Float, nullable=False),
    Column("live", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("pin", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fault", Text, nullable=False, server_default=""),
    Column("quality", Text, nullable=False, server_default=""),
    Index("ix_decision_project", "project", "at_ms"),
)
"""Hot rows: what joins, `explain` and `plan` need. Features stay in the journal."""

Index(
    "ix_decision_quality",
    decision.c.project,
    decision.c.at_ms,
    sqlite_where=decision.c.quality != "",
    postgresql_where=decision.c.quality != "",
)
"""Only of rows with problems: the others cost nothing, however many there are."""

shadow = Table(
    "shadow",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("project", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("probabilities", Text, nullable=False),
    Column("predicted", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    sqlite_with_rowid=False,
)

feedback = Table(
    "feedback",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False),
    Index("ix_feedback_id", "tenant", "id"),
    Index("ix_feedback_decision", "decision_id"),
    Index("ix_feedback_received", "received_ms"),
)
"""Every piece of feedback that was acknowledged, and what became of it."""

inbox = Table(
    "inbox",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("feedback", Integer, primary_key=True),
    # Null once it was said to have expired; it is still joined if the decision comes after all.
    Column("expires_ms", BigInteger),
    Index("ix_inbox_expires", "expires_ms"),
    sqlite_with_rowid=False,
)
"""Feedback that came before its decision, or whose decision never comes."""

outcome = Table(
    "outcome",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("feedback_id", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""One register for each decision and kind: what is held to be true about it now."""

stratum = Table(
    "stratum",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Index("ux_stratum", "project", "rule", "epoch", unique=True),
)

exposure = Table(
    "exposure",
    metadata,
    Column("stratum", Integer, primary_key=True),
    Column("unit_hash", BigInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("variant", Text, nullable=False),
    Column("propensity", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The first time a unit met a rule in an epoch, by (`at_ms`, `decision_id`)."""

headcount = Table(
    "headcount",
    metadata,
    Column("project", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("block_ms", BigInteger, primary_key=True),
    # split: chances the split draws with; logged: those in the records, the holdout included
    Column("of", Text, primary_key=True),
    Column("chances", Text, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("assigned", BigInteger, nullable=False),
    Column("served", BigInteger, nullable=False),
    Column("logged", BigInteger, nullable=False),
    Column("labelled", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""First exposures of units by the chances they were drawn with, and how far they came.

Lines of block -1 are the sums over all blocks, those of other negative ones over a day that began
then.
"""

cell = Table(
    "cell",
    metadata,
    Column("project", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("block_ms", BigInteger, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("slice", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Evidence: only decisions with reason SPLIT, by the variant assigned (domain/evidence.py)."""

gauge = Table(
    "gauge",
    metadata,
    Column("project", Text, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True),
    Column("variant", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""For `status`, never for judging: all decisions whatever their reason, by the variant served."""

traffic = Table(
    "traffic",
    metadata,
    Column("project", Text, primary_key=True),
    Column("hour_ms", BigInteger, primary_key=True),
    Column("table_version", BigInteger, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("assigned", Text, primary_key=True),
    Column("served", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("labelled", BigInteger, nullable=False),
    Column("rewarded", BigInteger, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Counts of all decisions by everything that a share or a rate is asked for."""

pulse = Table(
    "pulse",
    metadata,
    Column("project", Text, primary_key=True),
    # Length of the stretch of time, and its start.
    Column("step_s", Integer, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("assigned", Text, primary_key=True),
    Column("served", Text, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("denied", BigInteger, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Index("ix_pulse_age", "step_s", "at_ms"),
    sqlite_with_rowid=False,
)
"""All decisions by short stretches of time, for pictures of what happened when; never judged by."""

sketch = Table(
    "sketch",
    metadata,
    Column("project", Text, primary_key=True),
    # `features` by reference, `scores` by `variant:version`.
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("step_s", Integer, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("counts", LargeBinary, nullable=False),
    Index("ix_sketch_age", "step_s", "at_ms"),
    sqlite_with_rowid=False,
)
"""How full fixed bins are, by stretches of time: of inputs, and of scores of all decisions."""

override = Table(
    "override",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("target", Text, nullable=False),
    Column("set", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Index("ix_override_target", "target", "at_ms"),
)
"""What gateways did by themselves to their live state."""
