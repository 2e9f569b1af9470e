"""What switches, gateways, registries and background work say is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pointsman.alerts.condition import Condition, Measure
from pointsman.alerts.message import INSTALLATION, stamp
from pointsman.alerts.policy import Rule
from pointsman.domain.alert import Kind
from pointsman.rollout.words import span

GUARD: Final = "guard"
"""The actor of switches that a gateway set by itself."""


class Switch(msgspec.Struct, frozen=True):
    """A kill switch that is on. target: `tenant/project` or `tenant/project/variant`"""

    target: str
    actor: str
    reason: str
    at_ms: int


class Worker(msgspec.Struct, frozen=True):
    """One gateway worker and one project.

    current: whether it serves the newest table; problem: why it refused that, or empty
    refused: versions it will not serve, by variant, and why
    """

    slot: int
    current: bool
    problem: str = ""
    refused: Mapping[str, str] = {}


class Behind(msgspec.Struct, frozen=True):
    """How ingestion stands. caught_up_ms: 0 until it first was"""

    caught_up_ms: int
    started_ms: int
    unreadable: Mapping[str, str] = {}
    free_bytes: int | None = None
    needed_bytes: int = 0


def switches(project: str, found: Sequence[Switch]) -> Iterator[Condition]:
    """Switches that are on, those of gateways' guards apart from those of people."""
    for one in found:
        variant = one.target.removeprefix(project).removeprefix("/")
        what = variant or "the whole project"
        why = f": {one.reason}" if one.reason else ""
        if one.actor == GUARD:
            yield Condition(
                Kind.VARIANT_OUT,
                f"{project}: a gateway's guard took {what} out{why}",
                subject=variant,
                deed=f"sends {what} no request; the rest of its rule answers",
            )
        else:
            yield Condition(
                Kind.KILLED,
                f"{project}: the kill switch of {what} is on, set by {one.actor}{why}",
                subject=variant,
                deed=f"sends {what} no request"
                if variant
                else "every request goes to the champion",
            )


def not_served(project: str, workers: Sequence[Worker]) -> Iterator[Condition]:
    """Versions that gateways refuse, and gateways that are behind."""
    deed = "gateways that refuse a table serve the one before"
    refused: dict[str, list[str]] = {}
    for worker in workers:
        for variant, why in worker.refused.items():
            refused.setdefault(variant, []).append(why)
    for variant, reasons in sorted(refused.items()):
        said = f"{len(reasons)} of {len(workers)} workers refuse {variant}: {reasons[0]}"
        yield Condition(Kind.NOT_SERVED, f"{project}: {said}", subject=variant, deed=deed)
    behind = [worker for worker in workers if not worker.current]
    if behind and not refused:
        why = next((worker.problem for worker in behind if worker.problem), "")
        said = f"{len(behind)} of {len(workers)} workers do not serve the newest table"
        yield Condition(Kind.NOT_SERVED, f"{project}: {said}{f': {why}' if why else ''}", deed=deed)


def write_back(project: str, alias: str, error: str, *, final: bool) -> Condition:
    """An alias that could not be moved. final: whether it is not tried again"""
    deed = "serves the new champion all the same; "
    deed += "it is not tried again" if final else "the alias is tried again until it moves"
    return Condition(
        Kind.WRITE_BACK,
        f"{project}: the alias {alias} could not be moved: {error}",
        subject=alias,
        deed=deed,
    )


def registries(errors: Mapping[str, str]) -> Iterator[Condition]:
    """errors: by registry, empty where it answers"""
    for name, error in sorted(errors.items()):
        if error:
            yield Condition(
                Kind.REGISTRY,
                f"registry {name} does not answer: {error}",
                subject=name,
                deed="serves the pinned versions; alias moves are not seen",
            )


def journal(found: Behind) -> Iterator[Condition]:
    """Streams that cannot be read, and a disk that is too full to record on."""
    for stream, why in sorted(found.unreadable.items()):
        yield Condition(
            Kind.JOURNAL,
            f"journal {stream} cannot be read: {why}",
            subject=stream,
            deed="takes the other streams in; nothing of this one is lost while it stays on disk",
        )
    free = found.free_bytes
    if free is not None and free < found.needed_bytes:
        yield Condition(
            Kind.JOURNAL,
            f"{INSTALLATION}: the journal's disk has {free / 1e6:,.0f} MB left, and gateways "
            f"record nothing below {found.needed_bytes / 1e6:,.0f} MB",
            subject="disk",
            metric="MB free",
            value=free / 1e6,
            bound=found.needed_bytes / 1e6,
            deed="gateways answer as `log.onFailure` says",
        )


def lag(found: Behind, rule: Rule, now_ms: int) -> Iterator[Condition]:
    """Ingestion that does not keep up, or does not run."""
    since_ms = max(found.caught_up_ms, found.started_ms)
    if now_ms - since_ms <= rule.window_ms:
        return
    yield Condition(
        Kind.INGEST_LAG,
        f"{INSTALLATION}: what gateways recorded has not been taken in whole since "
        f"{stamp(since_ms)}; bound {span(rule.window_ms)}",
        metric="seconds behind",
        value=(now_ms - since_ms) // 10_000 * 10.0,
        bound=rule.window_ms / 1000,
        measure=Measure.SECONDS,
        window_ms=rule.window_ms,
        deed="no rollout takes a step on evidence that is not complete",
    )


def background(failing: Mapping[str, str]) -> Iterator[Condition]:
    """failing: what each loop last failed with, by its name; empty where it did not"""
    for name, error in sorted(failing.items()):
        if error:
            yield Condition(
                Kind.BACKGROUND,
                f"{INSTALLATION}: background work '{name}' fails: {error}",
                subject=name,
                deed="tries again, later and later; serving goes on",
            )
