"""A project as this worker serves it: everything that depends on the table alone, made once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pointsman.decide.live import live_of
from pointsman.decide.table import CompiledProject
from pointsman.domain.action import Chooser
from pointsman.domain.decision import NOTHING_LIVE, Live, Reason
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import qualified
from pointsman.domain.table import ProjectTable, Runtime, Variant
from pointsman.gateway.answers import JSON_LINE
from pointsman.gateway.auth import Gatekeeper, Permission, Shut
from pointsman.gateway.counters import Counters
from pointsman.gateway.metrics import MemberCounters, ProjectCounters
from pointsman.gateway.quality import Door
from pointsman.gateway.routes import Action, Match
from pointsman.gateway.schema import Schema, encode
from pointsman.gateway.tally import Tally

Pick = Callable[[Sequence[Any]], Sequence[Any]]

Score = Callable[[Sequence[Sequence[Any]]], Any]
"""Rows in the order of the project's features to probabilities [n, K] in class order."""


class Member:
    """One variant of a served project.

    score: how an in-process model answers; None where the model runner does, or for a constant
    pick: from a row of the project to one as the model runner takes it for this variant
    constant: what a constant variant answers with: probability 1 for its class
    heads: header lines of a JSON answer by reason
    bodies: pieces of a native answer by reason and class: what stands between the decision id and
        the probabilities; infer_bodies: the same of an Open Inference answer to one row
    infer_head: how such an answer begins
    """

    __slots__ = (
        "bodies",
        "chooser",
        "constant",
        "counters",
        "digest",
        "features",
        "heads",
        "infer_bodies",
        "infer_head",
        "label",
        "name",
        "pick",
        "score",
        "variant",
    )

    def __init__(
        self,
        variant: Variant,
        table: ProjectTable,
        score: Score | None,
        pick: Pick,
        counters: MemberCounters,
    ) -> None:
        self.variant = variant
        self.name = variant.name
        self.label = variant.label
        self.digest = variant.artifact
        self.features = table.features
        self.score = score
        self.pick = pick
        self.counters = counters
        self.chooser = Chooser(variant, table.classes, table.positive)
        self.constant: list[float] | None = None
        if variant.runtime is Runtime.CONSTANT:
            self.constant = [float(name == variant.constant) for name in table.classes]
        self.heads = {reason: _head(variant, reason) for reason in Reason}
        self.bodies = {
            reason: [
                _between(variant, reason, name, action)
                for name, action in zip(table.classes, self.chooser.actions, strict=True)
            ]
            for reason in Reason
        }
        self.infer_head = (
            f'{{"model_name":{_json(table.project)},"model_version":{_json(variant.label)},'
        )
        self.infer_bodies = {
            reason: [_infer_between(variant, reason, name, table.classes) for name in table.classes]
            for reason in Reason
        }


class Served:
    """One project. Immutable once loaded, but for `live`, which is replaced as a whole.

    probabilities: `%`-format of the class-to-probability object of a native answer
    tallies: what is counted for guards, by rule; empty where the table declares none
    door: what rows are checked by; None where the table says nothing of it
    """

    __slots__ = (
        "classes",
        "compiled",
        "counters",
        "deadline_s",
        "digest",
        "door",
        "durable",
        "key",
        "live",
        "members",
        "pins",
        "probabilities",
        "refuse_unlogged",
        "schema",
        "table",
        "tallies",
    )

    def __init__(
        self,
        compiled: CompiledProject,
        schema: Schema,
        scores: Mapping[str, Score],
        picks: Mapping[str, Pick],
        counters: Counters,
    ) -> None:
        """scores: of the variants that run in process, by name; picks: of the others"""
        table = compiled.table
        self.table = table
        self.compiled = compiled
        self.digest = compiled.digest
        self.key = qualified(table.tenant, table.project)
        self.schema = schema
        self.classes = table.classes
        self.live: Live = NOTHING_LIVE
        self.deadline_s = table.deadline_ms / 1000.0
        self.durable = table.durability == "durable"
        self.refuse_unlogged = table.on_log_failure == "refuse"
        self.counters = ProjectCounters(counters, self.key)
        self.members = {
            variant.name: Member(
                variant,
                table,
                scores.get(variant.name),
                picks.get(variant.name, tuple),
                MemberCounters(counters, self.key, variant.name),
            )
            for variant in table.variants
        }
        self.tallies: Mapping[str, Tally] = {}
        self.door: Door | None = None
        self.pins = _pins(table.variants)
        self.probabilities = (
            "{" + ",".join(_json(name).replace("%", "%%") + ":%r" for name in table.classes) + "}}"
        )

    def set_live(self, switches: Iterable[str]) -> None:
        """Takes on the switches that are set; requests in flight keep what they were decided by."""
        fresh = live_of(self.table, switches)
        # Kept as one object for as long as it does not change: `decide` compares by identity.
        if fresh != self.live:
            self.live = fresh


class Table:
    """What a worker serves from, swapped as a whole; a request reads it once.

    version: of the manifest, -1 before there is one
    fast: request targets of the fast lane, as bytes, to their routes
    refused: why a project of the manifest is not served at all, by tenant and name
    """

    __slots__ = ("fast", "gatekeeper", "projects", "refused", "version")

    def __init__(
        self,
        version: int,
        projects: Sequence[Served],
        gatekeeper: Gatekeeper | Shut,
        refused: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.version = version
        self.refused = refused or {}
        self.gatekeeper = gatekeeper
        self.projects = {(p.table.tenant, p.table.project): p for p in projects}
        self.fast: dict[bytes, Match] = {}
        for served in projects:
            self.fast.update(_targets(served))

    def find(self, tenant: str, project: str) -> Served | None:
        return self.projects.get((tenant, project))

    def unknown(self, tenant: str, project: str) -> PointsmanError:
        """Why this project cannot be asked: there is none, or it is not served here."""
        if self.version < 0:
            return PointsmanError(
                Kind.UNAVAILABLE,
                "no table is loaded yet",
                hint="the gateway waits for its controller; /v2/health/ready says when it is there",
            )
        reason = self.refused.get((tenant, project))
        if reason is not None:
            return PointsmanError(
                Kind.UNAVAILABLE, f"project {project} is not served here: {reason}"
            )
        return PointsmanError(
            Kind.NOT_FOUND,
            f"there is no project {project[:128]!r}",
            hint="`pointsman list` names those there are",
        )


_VERSIONS: Final = "/versions/"


def _targets(served: Served) -> dict[bytes, Match]:
    name = served.table.project
    model = f"/v2/models/{name}"
    targets = {
        f"{model}/infer": _match(Action.INFER, name),
        f"/v1/projects/{name}:predict": _match(Action.PREDICT, name),
        f"/v1/projects/{name}:decide": _match(Action.DECIDE, name),
    }
    for version in served.pins:
        path = f"{model}{_VERSIONS}{version}/infer"
        targets[path] = _match(Action.INFER, name, version)
    return {path.encode(): match for path, match in targets.items() if path.isascii()}


def _match(action: Action, project: str, version: str | None = None) -> Match:
    permission = Permission.DECIDE if action is Action.DECIDE else Permission.INFER
    return Match(action, permission, project, version, route=action.value)


def _pins(variants: Sequence[Variant]) -> dict[str, str]:
    """Variant by what a caller may ask for: label, name, or version where only one has it."""
    versions = [variant.version for variant in variants]
    pins = {v.version: v.name for v in variants if versions.count(v.version) == 1}
    pins |= {variant.name: variant.name for variant in variants}
    return pins | {variant.label: variant.name for variant in variants}


def _head(variant: Variant, reason: Reason) -> str:
    version = header_text(variant.version)
    lines = f"x-variant: {variant.name}\r\nx-version: {version}\r\nx-reason: {reason.value}\r\n"
    return JSON_LINE + lines


def _between(variant: Variant, reason: Reason, chosen: str, action: str) -> str:
    return (
        f'","variant":{_json(variant.name)},"version":{_json(variant.version)},'
        f'"reason":"{reason.value}","class":{_json(chosen)},"action":"{action}","probabilities":'
    )


def _infer_between(variant: Variant, reason: Reason, chosen: str, classes: tuple[str, ...]) -> str:
    return (
        f'","variant":{_json(variant.name)},"reason":"{reason.value}"}},"outputs":['
        f'{{"name":"class","shape":[1],"datatype":"BYTES","data":[{_json(chosen)}]}},'
        f'{{"name":"probabilities","shape":[1,{len(classes)}],"datatype":"FP64","data":['
    )


def header_text(text: str) -> str:
    """Text as a header value: printable ASCII, everything else a question mark."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _json(text: str) -> str:
    return encode(text).decode()
