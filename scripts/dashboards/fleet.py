"""All gateways and the controller: what runs, what fails, what is behind."""

from typing import Final

from scripts.dashboards.panel import BYTES, PER_SECOND, PERCENT, SECONDS, Line, Panel, alerts

FLEET: Final = {
    "Now": [
        alerts('alertname=~"Pointsman.+",alertstate="firing"'),
        Panel(
            "Workers ready",
            [
                Line("sum(pointsman_ready)", "ready"),
                Line("sum(pointsman_workers)", "meant to be"),
            ],
            kind="number",
            width=6,
        ),
        Panel(
            "Requests a second",
            [Line("sum(job:pointsman_requests:rate5m)", "requests")],
            PER_SECOND,
            kind="number",
            width=4,
        ),
        Panel(
            "Requests that fail",
            [Line("max(job:pointsman_request_errors:ratio_rate5m)", "5xx")],
            PERCENT,
            kind="number",
            width=4,
        ),
        Panel(
            "Versions",
            [
                Line(
                    "count by (component, version) (pointsman_build_info)",
                    "{{component}} {{version}}",
                )
            ],
            kind="number",
            width=6,
        ),
    ],
    "Gateways": [
        Panel(
            "Requests, by status",
            [Line("sum by (status) (rate(pointsman_requests_total[5m]))", "{{status}}")],
            PER_SECOND,
        ),
        Panel(
            "Requests that fail",
            [
                Line("max(job:pointsman_request_errors:ratio_rate5m)", "5 minutes"),
                Line("max(job:pointsman_request_errors:ratio_rate1h)", "1 hour"),
            ],
            PERCENT,
        ),
        Panel(
            "Slow requests, by project",
            [
                Line(
                    "max by (project) (project:pointsman_slow_requests:ratio_rate5m)", "{{project}}"
                )
            ],
            PERCENT,
            "Longer than the bound of the rules: 250 ms.",
        ),
        Panel(
            "Rows waiting",
            [Line("sum by (instance, worker) (pointsman_pending_rows)", "{{instance}} {{worker}}")],
        ),
        Panel(
            "Connections",
            [Line("sum by (instance) (pointsman_connections)", "{{instance}}")],
        ),
        Panel(
            "Worker starts in an hour",
            [
                Line(
                    "sum by (instance) (increase(pointsman_worker_starts_total[1h]))",
                    "{{instance}}",
                )
            ],
        ),
        Panel(
            "Age of the table",
            [
                Line(
                    "max by (instance) (time() - pointsman_table_confirmed_timestamp_seconds)",
                    "{{instance}}",
                )
            ],
            SECONDS,
            "Since the controller last said that there is none newer. It is asked about twice a "
            "minute.",
        ),
        Panel(
            "Journal",
            [
                Line("sum(rate(pointsman_journal_records_total[5m]))", "records"),
                Line("sum(rate(pointsman_journal_writes_total[5m]))", "writes"),
                Line("sum(rate(pointsman_journal_failures_total[5m]))", "refused"),
            ],
            PER_SECOND,
        ),
        Panel(
            "Local switches",
            [
                Line(
                    "max by (project, variant, by) (pointsman_local_override)",
                    "{{project}} {{variant}} {{by}}",
                )
            ],
            description="1 while a gateway keeps traffic from a variant by itself.",
        ),
    ],
    "Controller": [
        Panel(
            "Journal not taken in yet",
            [Line("sum by (stream) (pointsman_ingest_lag_bytes)", "{{stream}}")],
            BYTES,
        ),
        Panel(
            "Behind by",
            [Line("max by (instance) (pointsman_ingest_lag_seconds)", "{{instance}}")],
            SECONDS,
        ),
        Panel(
            "Taken in",
            [Line("sum by (kind) (rate(pointsman_ingested_records_total[5m]))", "{{kind}}")],
            PER_SECOND,
        ),
        Panel(
            "Background work that fails",
            [Line("max by (loop) (pointsman_loop_failing)", "{{loop}}")],
        ),
        Panel(
            "Decided and not done",
            [Line("sum by (project) (pointsman_outbox_pending)", "{{project}}")],
        ),
        Panel(
            "Room on the disk",
            [Line("min by (instance) (pointsman_data_free_bytes)", "{{instance}}")],
            BYTES,
        ),
    ],
}
