"""Dashboards for Grafana, built with its own SDK from what `project.py` and `fleet.py` declare."""

import itertools
import json
from typing import Final

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from scripts.dashboards.fleet import FLEET
from scripts.dashboards.panel import SECONDS, P, Panel
from scripts.dashboards.project import PROJECT

from pointsman.cli.colours import CHALLENGER, CHAMPION

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
FIXED: Final = {"champion": CHAMPION, "challenger": CHALLENGER}
"""Variants whose colour is the same everywhere; Grafana gives the others one by their name."""

DASHBOARDS: Final = {
    "pointsman-project": ("Pointsman: a project", PROJECT, True),
    "pointsman-fleet": ("Pointsman: gateways and controller", FLEET, False),
}


def made(name: str) -> str:
    """The JSON of one dashboard, as it is imported."""
    title, rows, of_project = DASHBOARDS[name]
    built = (
        dashboard.Dashboard(title)
        .uid(name)
        .tags(["pointsman"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("utc")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Data"))
    )
    if of_project:
        built = built.with_variable(_project()).annotation(_events())
    numbers = itertools.count(1)
    for row, panels in rows.items():
        built = built.with_row(dashboard.Row(row).id(next(numbers)))
        for panel in panels:
            built = built.with_panel(_panel(panel).id(next(numbers)))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _project() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("project")
        .label("Project")
        .datasource(SOURCE)
        .query("label_values(pointsman_project_phase, project)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _events() -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("What happened to the rollout")
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color("#7f7f7f")
        .expr(f"time() - pointsman_rollout_event_timestamp_seconds{{{P}}} < 60")
    )


def _panel(panel: Panel) -> object:
    kinds = {
        "lines": _lines,
        "stacked": _stacked,
        "number": _number,
        "states": _states,
        "heatmap": _heatmap,
    }
    built = kinds[panel.kind]()  # type: ignore[no-untyped-call] # each makes another builder
    built = built.title(panel.title).description(panel.description).span(panel.width)
    built = built.datasource(SOURCE).unit(panel.unit)
    if panel.kind in {"lines", "stacked"}:
        built = built.min(0)
        if panel.most is not None:
            built = built.max(panel.most)
        built = _coloured(built)
    for place, line in enumerate(panel.lines):
        query = prometheus.Dataquery().expr(line.expr).legend_format(line.legend)
        query = query.ref_id(chr(ord("A") + place)).datasource(SOURCE)
        if panel.kind == "heatmap":
            query = query.format(PromQueryFormat.HEATMAP)
        query = query.instant() if panel.kind == "number" else query.range()
        built = built.with_target(query)
    return built


def _number() -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().height(4).reduce_options(last).graph_mode(BigValueGraphMode.NONE)


def _states() -> statetimeline.Panel:
    states = statetimeline.Panel().height(4).line_width(0).fill_opacity(80)
    return states.show_value(VisibilityMode.NEVER).merge_values(merge_values=True)


def _heatmap() -> heatmap.Panel:
    axis = heatmap.YAxisConfig().unit(SECONDS)
    linear = common.ScaleDistributionConfig().type(ScaleDistribution.LINEAR)
    built = heatmap.Panel().height(8).calculate(calculate=False).y_axis(axis)
    return built.scale_distribution(linear).show_legend()


def _lines() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    return timeseries.Panel().height(8).line_width(2).legend(legend).tooltip(tooltip)


def _stacked() -> timeseries.Panel:
    stacking = common.StackingConfig().mode(StackingMode.NORMAL)
    return _lines().stacking(stacking).fill_opacity(60)


def _coloured(built: timeseries.Panel) -> timeseries.Panel:
    """One colour for one variant: ours for the two that every rollout has, Grafana's own by name
    for others."""
    by_name = dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)
    built = built.color_scheme(by_name)
    for variant, colour in FIXED.items():
        fixed = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        built = built.override_by_name(variant, [fixed])
    return built
