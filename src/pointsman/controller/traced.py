"""The controller's side of tracing: spans of the admin API, and what rollouts do as events."""

import time
from collections.abc import Iterable
from threading import Thread
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.controller.watch import Seen
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import Finding, Verdict
from pointsman.rollout.state import Transition
from pointsman.telemetry import dogstatsd
from pointsman.telemetry.context import SAMPLED, parse, traceparent
from pointsman.telemetry.current import CURRENT
from pointsman.telemetry.dogstatsd import AlertType, Client, Tags
from pointsman.telemetry.outlet import Outlet
from pointsman.telemetry.sampling import Sampler, low_bits
from pointsman.telemetry.spans import (
    Attributes,
    Event,
    Signal,
    Span,
    SpanKind,
    fresh_span,
    fresh_trace,
)

UNTRACED: Final = ("/healthz", "/metrics", "/ui", "/v1/news", "/v1/gateway/")
"""What asks again and again by itself: it would bury what people do."""
ROLLOUT: Final = "pointsman.rollout"


class TracedApp:
    """Writes a server span for every sampled call of the admin API, and names its trace in logs."""

    def __init__(self, app: ASGIApp, sampler: Sampler, outlet: Outlet) -> None:
        self._app = app
        self._sampler = sampler
        self._outlet = outlet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNTRACED):
            await self._app(scope, receive, send)
            return
        given = parse(_header(scope, b"traceparent"), _header(scope, b"tracestate"))
        trace = fresh_trace() if given is None else given.trace
        drawn = (
            self._sampler.takes(low_bits(trace)) if given is None else self._sampler.follows(given)
        )
        if not drawn:
            await self._app(scope, receive, send)
            return
        span, began_ns, status = fresh_span(), time.time_ns(), 500

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                line = (b"traceparent", traceparent(trace, span, SAMPLED).encode())
                message = {**message, "headers": [*message.get("headers", ()), line]}
            await send(message)

        mark = CURRENT.set((trace, span))
        try:
            await self._app(scope, receive, answering)
        finally:
            CURRENT.reset(mark)
            made = Span(
                _name(scope),
                trace,
                span,
                "" if given is None else given.span,
                began_ns,
                time.time_ns(),
                SpanKind.SERVER,
                _attributes(scope, status),
                str(status) if status >= 500 else "",
                remote=True,
                state="" if given is None else given.state,
            )
            self._outlet.tell(lambda: (made,))


class Witness:
    """Tells what rollouts do. Neither blocks nor raises.

    outlet: None where nothing is traced; client: None without a Datadog agent
    """

    def __init__(self, outlet: Outlet | None, client: Client | None) -> None:
        self._outlet = outlet
        self._client = client

    def __call__(self, project: str, seen: Seen, done: Transition) -> None:
        found = _deciding(seen)
        variant = seen.at.terms.variant
        if self._outlet is not None:
            made = _event(project, variant, done, found)
            self._outlet.tell(lambda: _only(made))
        if self._client is not None and done.after in _TOLD:
            tags = _tags(project, variant, done, found)
            title = f"{project}: {variant} {done.after.value.replace('_', ' ')}"
            kind = _TOLD[done.after]
            at_s = done.at_ms // 1000
            line = dogstatsd.event(title, done.sentence, at_s, kind, tags)
            # A name look-up may take its time where a network is down, and the loop that looks for
            # harm must not wait for it.
            Thread(target=self._client.send, args=([line],), daemon=True).start()


_TOLD: Final[dict[Phase, AlertType]] = {
    Phase.SUCCEEDED: "success",
    Phase.ROLLED_BACK: "error",
    Phase.FAILED: "error",
}
"""Promotions and ways back; a step more is no news for people."""


def _only(signal: Signal) -> Iterable[Signal]:
    yield signal


def _deciding(seen: Seen) -> Finding | None:
    """The criterion a transition was about: what is broken, before what is not."""
    judgement = seen.observation.judgement
    if judgement is None or not judgement.findings:
        return None
    broken = [one for one in judgement.findings if one.verdict is Verdict.FAIL]
    return (broken or judgement.findings)[0]


def _event(project: str, variant: str, done: Transition, found: Finding | None) -> Event:
    tenant, _, name = project.partition("/")
    said: Attributes = {
        "pointsman.project": name,
        "pointsman.tenant": tenant,
        "pointsman.variant": variant,
        "pointsman.rollout.event": done.event.value,
        "pointsman.rollout.phase": done.after.value,
        "pointsman.rollout.attempt": done.attempt,
        "pointsman.rollout.weight_before": float(done.weight_before),
        "pointsman.rollout.weight": float(done.weight),
        "pointsman.rollout.by_itself": not done.actor,
    }
    if found is not None:
        said |= {
            "pointsman.metric": found.metric,
            "pointsman.verdict": found.verdict.value,
            "pointsman.n": found.n,
        }
        if found.value is not None:
            said["pointsman.value"] = found.value
        if found.bound is not None:
            said["pointsman.bound"] = found.bound
    trace, span = CURRENT.get() or ("", "")
    back = done.after in {Phase.ROLLED_BACK, Phase.FAILED}
    at_ns = done.at_ms * 1_000_000
    return Event(f"{ROLLOUT}.{done.event.value}", at_ns, said, trace, span, done.sentence, back)


def _tags(project: str, variant: str, done: Transition, found: Finding | None) -> Tags:
    tags = [("project", project), ("variant", variant), ("event", done.event.value)]
    if found is not None:
        tags.append(("metric", found.metric))
    return tags


def _name(scope: Scope) -> str:
    route = _route(scope)
    return f"{scope['method']} {route}" if route else str(scope["method"])


def _route(scope: Scope) -> str:
    """The template of the path; paths themselves hold names, of which there is no end."""
    return str(getattr(scope.get("route"), "path", ""))


def _attributes(scope: Scope, status: int) -> Attributes:
    said: Attributes = {
        "http.request.method": scope["method"],
        "url.scheme": scope["scheme"],
        "http.response.status_code": status,
    }
    route = _route(scope)
    if route:
        said["http.route"] = route
    for name in ("tenant", "project"):
        value = scope.get("path_params", {}).get(name)
        if value is not None:
            said[f"pointsman.{name}"] = str(value)
    if status >= 500:
        said["error.type"] = str(status)
    return said


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    """Repeated headers as HTTP reads them: one list."""
    found = [value for name, value in scope["headers"] if name == wanted]
    return b",".join(found) if found else None
