"""One project: who serves, how well, and where its rollout is."""

from typing import Final

from scripts.dashboards.panel import PER_SECOND, PERCENT, SECONDS, Line, P, Panel, alerts

PROJECT: Final = {
    "Now": [
        alerts(f'alertname=~"Pointsman.+",alertstate="firing",{P}'),
        Panel(
            "Decisions a second",
            [Line(f"sum(project_variant:pointsman_decisions:rate5m{{{P}}})", "decisions")],
            PER_SECOND,
            kind="number",
            width=4,
        ),
        Panel(
            "p99 of a request",
            [Line(f"max(project:pointsman_request_duration_seconds:p99_5m{{{P}}})", "p99")],
            SECONDS,
            kind="number",
            width=4,
        ),
        Panel(
            "Phase of the rollout",
            [Line(f"max by (phase) (pointsman_rollout_phase{{{P}}}) == 1", "{{phase}}")],
            description="Which phase is 1.",
            kind="states",
            width=12,
        ),
    ],
    "Traffic": [
        Panel(
            "Share of decisions, by who served",
            [
                Line(
                    f"avg by (variant) (project_variant:pointsman_served_share:ratio5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            PERCENT,
            "What was really served in five minutes; stacked to the whole.",
            "stacked",
            12,
            most=1.0,
        ),
        Panel(
            "Target share",
            [Line(f"avg by (variant) (pointsman_target_share{{{P}}})", "{{variant}}")],
            PERCENT,
            "What the last rule asks for. Rules before it may send traffic elsewhere.",
            "stacked",
            12,
            most=1.0,
        ),
        Panel(
            "Decisions, by variant",
            [
                Line(
                    f"sum by (variant) (project_variant:pointsman_decisions:rate5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            PER_SECOND,
        ),
        Panel(
            "Decisions, by reason",
            [Line(f"sum by (reason) (rate(pointsman_decisions_total{{{P}}}[5m]))", "{{reason}}")],
            PER_SECOND,
            "DEFAULT: a condition could not be evaluated. FALLBACK: another variant had to answer.",
        ),
        Panel(
            "Denied",
            [
                Line(
                    f"avg by (variant) (project_variant:pointsman_denied:ratio_rate5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            PERCENT,
            "Share of a variant's answers that count as denied. Variants may have different "
            "traffic: the rollout's own figures compare like with like.",
        ),
    ],
    "Health": [
        Panel(
            "Rows a variant could not answer",
            [
                Line(
                    "avg by (variant) "
                    f"(project_variant:pointsman_variant_errors:ratio_rate5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            PERCENT,
        ),
        Panel(
            "Rows a fallback answered",
            [
                Line(
                    f"avg by (variant) (project_variant:pointsman_fallbacks:ratio_rate5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            PERCENT,
            "By the variant that should have.",
        ),
        Panel(
            "Unanswered, unlogged, shadows dropped",
            [
                Line(f"sum(rate(pointsman_unanswered_total{{{P}}}[5m]))", "unanswered"),
                Line(f"sum(rate(pointsman_unlogged_total{{{P}}}[5m]))", "unlogged"),
                Line(
                    f'sum(rate(pointsman_shadow_total{{{P},result="dropped"}}[5m])) or vector(0)',
                    "shadows dropped",
                ),
            ],
            PER_SECOND,
        ),
        Panel(
            "Time a request takes",
            [
                Line(f"max(project:pointsman_request_duration_seconds:p50_5m{{{P}}})", "p50"),
                Line(f"max(project:pointsman_request_duration_seconds:p99_5m{{{P}}})", "p99"),
            ],
            SECONDS,
            "From the last byte read to the record being written.",
        ),
        Panel(
            "p99 of one call of a variant",
            [
                Line(
                    "max by (variant) "
                    f"(project_variant:pointsman_model_duration_seconds:p99_5m{{{P}}})",
                    "{{variant}}",
                )
            ],
            SECONDS,
        ),
        Panel(
            "Rows asked at once",
            [
                Line(
                    f"avg by (variant) (project_variant:pointsman_batch_rows:mean5m{{{P}}})",
                    "{{variant}}",
                )
            ],
        ),
        Panel(
            "Requests, by how long they took",
            [
                Line(
                    f"sum by (le) (rate(pointsman_request_duration_seconds_bucket{{{P}}}[5m]))",
                    "{{le}}",
                )
            ],
            SECONDS,
            kind="heatmap",
            width=24,
        ),
    ],
    "Rollout": [
        Panel(
            "Weight",
            [Line(f"max by (variant) (pointsman_rollout_weight{{{P}}})", "{{variant}}")],
            PERCENT,
            most=1.0,
        ),
        Panel(
            "Verdict",
            [Line(f"max by (verdict) (pointsman_rollout_verdict{{{P}}}) == 1", "{{verdict}}")],
            description="Which verdict is 1.",
            kind="states",
        ),
        Panel(
            "Evidence that cannot be believed",
            [Line(f"max by (why) (pointsman_rollout_evidence_unsound{{{P}}})", "{{why}}")],
            description="1 holds the rollout.",
        ),
        Panel(
            "Labels that are due",
            [Line(f"avg by (variant) (pointsman_labels_matured_ratio{{{P}}})", "{{variant}}")],
            PERCENT,
            "Of the day that ended one label horizon ago.",
            most=1.0,
        ),
        Panel(
            "Labels of the past day",
            [Line(f"avg by (variant) (pointsman_labels_known_ratio{{{P}}})", "{{variant}}")],
            PERCENT,
            most=1.0,
        ),
        Panel(
            "Feedback, by what became of it",
            [Line(f"sum by (state) (rate(pointsman_outcomes_total{{{P}}}[5m]))", "{{state}}")],
            PER_SECOND,
        ),
    ],
}
