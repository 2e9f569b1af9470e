"""serve, gateway, controller: the processes themselves."""

# ruff: noqa: FBT002, PLR0913, PLR0917 - a parameter of a command is an option of it

from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.cli.session import Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory.  [env: POINTSMAN_DATA; default: pointsman-data]"),
]
Host = Annotated[str | None, typer.Option("--host", help="Address of the data plane.")]
Port = Annotated[int | None, typer.Option("--port", help="Its port, 0 = a free one. [8700]")]
AdminHost = Annotated[str | None, typer.Option("--admin-host", help="Address of the admin API.")]
AdminPort = Annotated[int | None, typer.Option("--admin-port", help="Its port. [8701]")]
Workers = Annotated[int | None, typer.Option("--workers", help="Gateway processes. [one a CPU]")]
Registries = Annotated[
    list[str] | None, typer.Option("--registry", help="NAME=URL of an MLflow server; repeatable.")
]
Trusted = Annotated[
    list[str] | None,
    typer.Option("--trust-registry", help="NAME whose models may bring code along; repeatable."),
]
Tokens = Annotated[
    list[str] | None,
    typer.Option(
        "--registry-token",
        help="NAME=REFERENCE to a bearer token: ${env:VARIABLE} or ${file:/path}; repeatable.",
    ),
]
Logins = Annotated[
    list[str] | None,
    typer.Option("--registry-login", help="NAME=REFERENCE to USER:PASSWORD; repeatable."),
]
Webhooks = Annotated[
    list[str] | None,
    typer.Option(
        "--webhook-secret", help="NAME=REFERENCE to what the registry signs with; repeatable."
    ),
]
Notify = Annotated[
    str | None,
    typer.Option("--notify", help="Address of a webhook that is told what happens by itself."),
]
NotifySecret = Annotated[
    str | None,
    typer.Option("--notify-secret", help="REFERENCE to what its deliveries are signed with."),
]
Receivers = Annotated[
    list[str] | None,
    typer.Option(
        "--receiver",
        help="NAME=TYPE:WHERE of who hears of alerts: webhook, slack, email, pagerduty; "
        "WHERE may be ${env:VARIABLE} or ${file:/path}; repeatable.",
    ),
]
ReceiverSecrets = Annotated[
    list[str] | None,
    typer.Option(
        "--receiver-secret", help="NAME=REFERENCE to what a webhook is signed with; repeatable."
    ),
]
HttpReceivers = Annotated[
    list[str] | None,
    typer.Option("--allow-http-receiver", help="NAME that may be reached without TLS; repeatable."),
]
DashboardUrl = Annotated[
    str | None,
    typer.Option("--dashboard-url", help="Address people reach the dashboard at, for links."),
]
Roots = Annotated[
    list[Path] | None,
    typer.Option("--allow-local", help="Directory models may be named by path in; repeatable."),
]
HostNames = Annotated[
    list[str] | None,
    typer.Option("--admin-host-name", help="Name the admin API is addressed by; repeatable."),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Beyond loopback without keys and without TLS.")
]
Tracing = Annotated[
    bool, typer.Option("--tracing", help="Traces and events by OTLP, as the OTEL_* variables say.")
]
Dogstatsd = Annotated[
    str | None, typer.Option("--dogstatsd", help="HOST:PORT of a Datadog agent, for metrics.")
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning, error.")]


def register(app: typer.Typer) -> None:
    for command in (serve, gateway, controller):
        app.command()(command)


def serve(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    workers: Workers = None,
    registry: Registries = None,
    trust_registry: Trusted = None,
    registry_token: Tokens = None,
    registry_login: Logins = None,
    webhook_secret: Webhooks = None,
    notify: Notify = None,
    notify_secret: NotifySecret = None,
    receiver: Receivers = None,
    receiver_secret: ReceiverSecrets = None,
    allow_http_receiver: HttpReceivers = None,
    dashboard_url: DashboardUrl = None,
    allow_local: Roots = None,
    admin_host_name: HostNames = None,
    insecure: Insecure = False,
    tracing: Tracing = False,
    dogstatsd: Dogstatsd = None,
    log_level: LogLevel = None,
) -> None:
    """Run everything on this machine: gateway workers, model runner, controller."""
    with reporting():
        from pointsman.wiring import serving, settings

        wanted = settings.load(
            data=data,
            host=host,
            port=port,
            admin_host=admin_host,
            admin_port=admin_port,
            workers=workers,
            registries=registry,
            trusted=_plain(trust_registry),
            registry_tokens=registry_token,
            registry_logins=registry_login,
            webhook_secrets=webhook_secret,
            notify=notify,
            notify_secret=notify_secret,
            receivers=receiver,
            receiver_secrets=receiver_secret,
            http_receivers=_plain(allow_http_receiver),
            dashboard_url=dashboard_url,
            local_roots=allow_local,
            admin_host_names=_plain(admin_host_name),
            insecure=insecure or None,
            tracing=tracing or None,
            dogstatsd=dogstatsd,
            log_level=log_level,
        )
        raise typer.Exit(serving.serve(wanted))


def gateway(
    context: typer.Context,
    admin_url: Annotated[str, typer.Option("--admin-url", envvar="POINTSMAN_ADMIN_URL")] = "",
    gateway_token: Annotated[
        str,
        typer.Option(
            "--gateway-token",
            envvar="POINTSMAN_GATEWAY_TOKEN",
            help="REFERENCE to a token of role gateway: ${env:VARIABLE} or ${file:/path}.",
        ),
    ] = "",
    data: Data = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    insecure: Insecure = False,
    tracing: Tracing = False,
    dogstatsd: Dogstatsd = None,
    log_level: LogLevel = None,
) -> None:
    """Run gateway workers and a model runner, for a controller elsewhere."""
    with reporting():
        from pointsman.wiring import serving, settings

        session: Session = context.obj
        source = context.get_parameter_source("gateway_token")
        said_here = source is not None and source.name == "COMMANDLINE"
        wanted = settings.load(
            data=data,
            host=host,
            port=port,
            workers=workers,
            insecure=insecure or None,
            tracing=tracing or None,
            dogstatsd=dogstatsd,
            log_level=log_level,
            admin_url=admin_url or session.url,
            gateway_token=_secret(gateway_token, shown=said_here) or session.token,
        )
        raise typer.Exit(serving.gateway(wanted))


def controller(
    data: Data = None,
    admin_host: AdminHost = None,
    admin_port: AdminPort = None,
    registry: Registries = None,
    trust_registry: Trusted = None,
    registry_token: Tokens = None,
    registry_login: Logins = None,
    webhook_secret: Webhooks = None,
    notify: Notify = None,
    notify_secret: NotifySecret = None,
    receiver: Receivers = None,
    receiver_secret: ReceiverSecrets = None,
    allow_http_receiver: HttpReceivers = None,
    dashboard_url: DashboardUrl = None,
    allow_local: Roots = None,
    admin_host_name: HostNames = None,
    insecure: Insecure = False,
    tracing: Tracing = False,
    dogstatsd: Dogstatsd = None,
    log_level: LogLevel = None,
) -> None:
    """Run the controller alone: admin API, ingester, registry watch."""
    with reporting():
        from pointsman.plugins import posting
        from pointsman.wiring import control, settings

        given: dict[str, Any] = {
            "data": data,
            "admin_host": admin_host,
            "admin_port": admin_port,
            "registries": registry,
            "trusted": _plain(trust_registry),
            "registry_tokens": registry_token,
            "registry_logins": registry_login,
            "webhook_secrets": webhook_secret,
            "notify": notify,
            "notify_secret": notify_secret,
            "receivers": receiver,
            "receiver_secrets": receiver_secret,
            "http_receivers": _plain(allow_http_receiver),
            "dashboard_url": dashboard_url,
            "local_roots": allow_local,
            "admin_host_names": _plain(admin_host_name),
            "insecure": insecure or None,
            "tracing": tracing or None,
            "dogstatsd": dogstatsd,
            "log_level": log_level,
        }
        wanted = settings.load(**given)
        if not posting.is_loopback(wanted.admin_host) and not wanted.insecure:
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"--admin-host {wanted.admin_host}: reached beyond this machine, without TLS",
                hint="keep it on loopback behind a proxy with TLS, or say --insecure",
            )
        wanted.check_secrets()
        wanted.check_tracing()
        control.run(wanted)


def _secret(text: str, *, shown: bool) -> str:
    """What a reference refers to; a plain secret only where `ps` does not show it."""
    from pointsman.wiring import secrets

    if secrets.is_reference(text):
        return secrets.read(text, "the gateway token")
    if text and shown:
        raise PointsmanError(
            Kind.INVALID,
            "--gateway-token: a plain secret among the arguments can be read by everybody here",
            hint=f"set POINTSMAN_GATEWAY_TOKEN, or {secrets.HINT}",
        )
    return text


def _plain(values: list[str] | None) -> list[str] | None:
    """Nothing said is None, so that the environment is heard."""
    return values or None
