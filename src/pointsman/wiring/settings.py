"""What an operator can say: command-line flags over environment variables over defaults."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.names import is_name
from pointsman.spec.scalars import Bytes, Milliseconds
from pointsman.telemetry import dogstatsd, switches
from pointsman.wiring import secrets

_FLAGS: Final = {
    "registries": "--registry",
    "trusted": "--trust-registry",
    "registry_tokens": "--registry-token",
    "registry_logins": "--registry-login",
    "webhook_secrets": "--webhook-secret",
    "receivers": "--receiver",
    "receiver_secrets": "--receiver-secret",
    "http_receivers": "--allow-http-receiver",
    "local_roots": "--allow-local",
    "admin_host_names": "--admin-host-name",
}
"""Flags that are not named as their setting is."""
_NO_FLAG: Final = frozenset(
    {
        "poll_s",
        "journal_keep",
        "journal_max",
        "archive_gather",
        "prepare_timeout_s",
        "prepare_memory",
        "prepare_model",
        "trace_unit",
    }
)
_SHOWN: Final = _NO_FLAG | {"port", "admin_port", "workers", "log_level", "dogstatsd"}
_TOKENS: Final = frozenset({"POINTSMAN_TOKEN", "POINTSMAN_GATEWAY_TOKEN"})

RECEIVER_TYPES: Final = ("webhook", "slack", "email", "pagerduty")
_SECRET_TYPES: Final = frozenset({"slack", "pagerduty"})
"""Whoever knows where these are may send to them."""
_MOST_RECEIVERS: Final = 50


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseSettings):
    """Settings of `serve`, `gateway` and `controller`; each has a variable POINTSMAN_<NAME>.

    data: the data directory; host, port: of the data plane; admin_host, admin_port: of the API
    workers: gateway processes, 0 = one for each CPU this process may use
    registries: MLflow servers by name; trusted: those whose models may bring code along
    registry_tokens, registry_logins: by registry name, references to a bearer token or to
        `user:password`; webhook_secrets: the same, to what signs deliveries
    local_roots: directories below which a model may be named by its path
    insecure: serve beyond loopback without keys and without TLS
    admin_host_names: names besides loopback that the admin API may be addressed by
    notify: address of a webhook that is told what happens by itself, or a reference to it, since
        some hold a secret; notify_secret: a reference to what its deliveries are signed with
    receivers: who hears of alerts, by name: `TYPE:WHERE`, where WHERE may be a reference;
        receiver_secrets: by name, references to what webhooks are signed with; http_receivers:
        names of those that may be reached without TLS beyond this machine
    dashboard_url: address people reach the dashboard at, for links; empty = the admin API's own
    tracing: send traces and events by OTLP, as the standard OTEL_* variables say; trace_unit: what
        they say of a unit: nothing, a hash of it, or itself
    dogstatsd: HOST:PORT of a Datadog agent that metrics and events go to by UDP; by default what
        DD_AGENT_HOST and DD_DOGSTATSD_PORT say, nowhere without them
    poll_s: how often the registry is asked. 2 s, so that a move is noticed within 5 s
    journal_keep, journal_max: how long segments that are taken in stay, in ms, and of how many
        bytes; archive_gather: how long one may wait for others to share an archive file with, in
        ms; prepare_timeout_s, prepare_memory, prepare_model: what a model may take to prepare,
        in seconds and bytes, and how large it may be
    """

    model_config = SettingsConfigDict(env_prefix="POINTSMAN_", frozen=True, extra="ignore")

    data: Path = Path("pointsman-data")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65535)] = 8701
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    registries: Annotated[dict[str, str], NoDecode] = Field(default={})
    trusted: Annotated[frozenset[str], NoDecode] = frozenset()
    registry_tokens: Annotated[dict[str, str], NoDecode] = Field(default={})
    registry_logins: Annotated[dict[str, str], NoDecode] = Field(default={})
    webhook_secrets: Annotated[dict[str, str], NoDecode] = Field(default={})
    local_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    insecure: bool = False
    admin_host_names: Annotated[frozenset[str], NoDecode] = frozenset()
    admin_url: str = ""
    gateway_token: Annotated[str, Field(repr=False)] = ""
    notify: Annotated[str, Field(repr=False)] = ""
    notify_secret: str = ""
    receivers: Annotated[dict[str, str], NoDecode] = Field(default={}, repr=False)
    receiver_secrets: Annotated[dict[str, str], NoDecode] = Field(default={})
    http_receivers: Annotated[frozenset[str], NoDecode] = frozenset()
    dashboard_url: str = ""
    tracing: bool = False
    trace_unit: Literal["none", "hashed", "plain"] = "none"
    dogstatsd: str = Field(
        default_factory=lambda: dogstatsd.address_from(os.environ), validate_default=True
    )
    poll_s: Annotated[float, Field(gt=0, le=3600)] = 2.0
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = (
        "info"
    )
    journal_keep: Milliseconds = Field(default="14d", validate_default=True)
    journal_max: Bytes = Field(default="10GB", validate_default=True)
    archive_gather: Milliseconds = Field(default="1h", validate_default=True)
    prepare_timeout_s: Annotated[int, Field(gt=0, le=86_400)] = 180
    prepare_memory: Bytes = Field(default="8GiB", validate_default=True)
    prepare_model: Bytes = Field(default="2GiB", validate_default=True)

    @field_validator(
        "registries",
        "registry_tokens",
        "registry_logins",
        "webhook_secrets",
        "receivers",
        "receiver_secrets",
        mode="before",
    )
    @classmethod
    def _pairs(cls, value: object) -> object:
        """`name=value,name=value`, or a list of such pairs."""
        if isinstance(value, str):
            value = [part for part in value.split(",") if part]
        if not isinstance(value, list | tuple):
            return value
        pairs = [str(part).partition("=") for part in value]
        if not all(is_name(name) and rest for name, _, rest in pairs):
            raise ValueError("write NAME=VALUE; several with commas between them")
        return {name: rest for name, _, rest in pairs}

    @field_validator("registries")
    @classmethod
    def _addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for name, url in value.items():
            if "@" in urlsplit(url).netloc:
                raise ValueError(
                    f"the address of {name} holds a password, and addresses end up in logs; give "
                    "it with --registry-login"
                )
        return value

    @field_validator("receivers")
    @classmethod
    def _receivers(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > _MOST_RECEIVERS:
            raise ValueError(f"there are more than {_MOST_RECEIVERS}")
        for name, text in value.items():
            kind, _, where = text.partition(":")
            if kind not in RECEIVER_TYPES or not where:
                # What it is may be a secret: it is not repeated.
                types = ", ".join(RECEIVER_TYPES)
                raise ValueError(f"{name} is not written TYPE:WHERE, with TYPE one of {types}")
            if kind in _SECRET_TYPES and not secrets.is_reference(where):
                raise ValueError(f"{name} is given in plain text, and is a secret; {secrets.HINT}")
            if "@" in urlsplit(where).netloc and not secrets.is_reference(where):
                raise ValueError(f"{name} holds a password in plain text; {secrets.HINT}")
        return value

    @field_validator("dashboard_url")
    @classmethod
    def _dashboard(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query):
            raise ValueError("write it like https://pointsman.example.com")
        return value

    @field_validator("registry_tokens", "registry_logins", "webhook_secrets", "receiver_secrets")
    @classmethod
    def _references(cls, value: dict[str, str]) -> dict[str, str]:
        for name, reference in value.items():
            if not secrets.is_reference(reference):
                # What it is may be the secret itself: it is not repeated.
                raise ValueError(f"a secret of {name} is given in plain text; {secrets.HINT}")
        return value

    @field_validator("notify_secret")
    @classmethod
    def _reference(cls, value: str) -> str:
        if value and not secrets.is_reference(value):
            raise ValueError(f"the secret is given in plain text; {secrets.HINT}")
        return value

    @field_validator("dogstatsd")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            dogstatsd.parse_address(value)
        return value

    @field_validator("trusted", "local_roots", "admin_host_names", "http_receivers", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _signed_somewhere(self) -> Self:
        if self.notify_secret and not self.notify:
            raise ValueError("there is nothing to sign; say where to with --notify")
        return self

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        known = {*self.registries, "local"}
        named = self.trusted | self.webhook_secrets.keys() | self.registry_tokens.keys()
        for unknown in sorted((named | self.registry_logins.keys()) - known):
            raise ValueError(f"there is no registry {unknown!r}; name it with --registry first")
        for name in sorted(self.registry_tokens.keys() & self.registry_logins.keys()):
            raise ValueError(f"registry {name} has a token and a login; give one of them")
        return self

    @model_validator(mode="after")
    def _known_receivers(self) -> Self:
        for name in sorted(
            (self.receiver_secrets.keys() | self.http_receivers) - self.receivers.keys()
        ):
            raise ValueError(f"there is no receiver {name!r}; name it with --receiver first")
        for name in self.receiver_secrets:
            if not self.receivers[name].startswith("webhook:"):
                raise ValueError(f"{name} is no webhook, and only these are signed")
        return self

    def receiver_address(self, name: str) -> str:
        """Where a receiver is."""
        where = self.receivers[name].partition(":")[2]
        if secrets.is_reference(where):
            return secrets.read(where, f"the address of receiver {name}")
        return where

    def receiver_secret(self, name: str) -> str:
        """What a receiver's messages are signed with, empty where they are not."""
        reference = self.receiver_secrets.get(name, "")
        return secrets.read(reference, f"the secret of receiver {name}") if reference else ""

    def authorization(self, registry: str) -> Callable[[], str]:
        """Makes the Authorization header for a registry, empty where it needs none."""
        if reference := self.registry_tokens.get(registry):
            return secrets.bearer(reference, f"the token of registry {registry}")
        if reference := self.registry_logins.get(registry):
            return secrets.basic(reference, f"the login of registry {registry}")
        return str

    def webhook_secret(self, registry: str) -> str:
        """What a registry signs its deliveries with."""
        reference = self.webhook_secrets[registry]
        return secrets.read(reference, f"the webhook secret of registry {registry}")

    def notification_url(self) -> str:
        """Where notifications go, empty for nowhere."""
        if secrets.is_reference(self.notify):
            return secrets.read(self.notify, "the address for notifications")
        return self.notify

    def notification_secret(self) -> str:
        """What notifications are signed with, empty where they are not."""
        reference = self.notify_secret
        return secrets.read(reference, "the secret of notifications") if reference else ""

    def check_secrets(self) -> None:
        """Raises PointsmanError for a secret that cannot be read."""
        for name in self.registries:
            self.authorization(name)()
        for name in self.webhook_secrets:
            self.webhook_secret(name)
        self.notification_url()
        self.notification_secret()
        for name in self.receivers:
            self.receiver_address(name)
            self.receiver_secret(name)

    def check_tracing(self) -> None:
        """Raises PointsmanError where tracing is on and cannot be, or its variables say nothing."""
        if self.tracing:
            switches.check(os.environ)

    @property
    def secret_variables(self) -> frozenset[str]:
        """Environment variables that hold a secret."""
        given = (
            self.registry_tokens,
            self.registry_logins,
            self.webhook_secrets,
            self.receiver_secrets,
        )
        named = {secrets.variable(reference) for kind in given for reference in kind.values()}
        own = [self.notify_secret, self.notify]
        own += [text.partition(":")[2] for text in self.receivers.values()]
        named |= {secrets.variable(value) for value in own if secrets.is_reference(value)}
        return frozenset(named | _TOKENS) - {""}

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def blobs(self) -> Path:
        return self.data / "blobs"


def load(**given: object) -> Settings:
    """The settings; None among `given` means: not said. Raises PointsmanError(INVALID)."""
    from pydantic import ValidationError

    said = {name: value for name, value in given.items() if value is not None}
    try:
        found = Settings(**said)  # type: ignore[arg-type] # pydantic checks what comes in
    except ValidationError as error:
        raise _refused([_violation(problem) for problem in error.errors()]) from None
    return found.model_copy(update={"data": found.data.absolute()})


def _violation(problem: Mapping[str, Any]) -> Violation:
    """What is wrong with one setting, by the names an operator can give it. Values that may be
    secrets are not repeated."""
    field = str(problem["loc"][0]) if problem["loc"] else ""
    what = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if isinstance(problem["input"], int | float) or field in _SHOWN:
        what = f"{what}, not {str(problem['input'])[:80]!r}"
    if not field:
        return Violation("", what)
    variable = f"POINTSMAN_{field.upper()}"
    if field in _NO_FLAG:
        return Violation(variable, what, f"set {variable}")
    flag = _FLAGS.get(field, f"--{field.replace('_', '-')}")
    return Violation(flag, what, f"give {flag}, or set {variable}")


def _refused(found: list[Violation]) -> PointsmanError:
    if len(found) > 1:
        what = f"{len(found)} settings are not valid"
        return PointsmanError(Kind.INVALID, what, violations=tuple(found))
    (only,) = found
    where = f"{only.path}: " if only.path else ""
    return PointsmanError(Kind.INVALID, f"{where}{only.message}", hint=only.hint)
