"""The block `alerts`: who hears of what, and from when on."""

from typing import Annotated

from pydantic import Field, Strict

from pointsman.domain.alert import OF_PROJECTS, Severity
from pointsman.spec.block import Block, Items
from pointsman.spec.later import Count
from pointsman.spec.scalars import Milliseconds, Name, Percent, Sorted


class AlertRule(Block):
    """One kind of alert; what is left out is as usual."""

    severity: Annotated[Severity, Strict(strict=False)] | None = None
    bound: Percent | None = None
    window: Annotated[Milliseconds, Field(ge=10_000)] | None = None
    least: Count | None = None
    after: Milliseconds | None = None
    quiet: Annotated[Milliseconds, Field(ge=10_000)] | None = None
    receivers: Items[Name] | None = None
    mute: bool = False


class Alerts(Block):
    """Who hears of what goes wrong with a project. Nothing here changes what is served.

    receivers: by the operator's names; None = all there are
    group: what happens within it is one message; repeat: how often an open alert is told again
    """

    receivers: Items[Name] | None = None
    group: Annotated[Milliseconds, Field(le=3_600_000)] = 10_000
    repeat: Annotated[Milliseconds, Field(ge=60_000)] = 4 * 3_600_000
    rules: Annotated[dict[str, AlertRule], Sorted] = Field(
        default={},
        json_schema_extra={"propertyNames": {"enum": [kind.value for kind in OF_PROJECTS]}},
    )
