"""What an operator can say: command-line flags over environment variables over defaults."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import is_name


class Settings(BaseSettings):
    """Settings of `serve`, `gateway` and `controller`; each has a variable POINTSMAN_<NAME>.

    data: the data directory; host, port: of the data plane; admin_host, admin_port: of the API
    workers: gateway processes, 0 = one for each CPU this process may use
    registries: MLflow servers by name; trusted: those whose models may bring code along
    webhook_secrets: by registry name, for signed deliveries
    local_roots: directories below which a model may be named by its path
    insecure: serve beyond loopback without keys and without TLS
    admin_host_names: names besides loopback that the admin API may be addressed by
    poll_s: how often the registry is asked. 2 s, so that a move is noticed within 5 s
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
    webhook_secrets: Annotated[dict[str, str], NoDecode] = Field(default={}, repr=False)
    local_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    insecure: bool = False
    admin_host_names: Annotated[frozenset[str], NoDecode] = frozenset()
    admin_url: str = ""
    gateway_token: Annotated[str, Field(repr=False)] = ""
    poll_s: Annotated[float, Field(gt=0, le=3600)] = 2.0
    log_level: str = "info"

    @field_validator("registries", "webhook_secrets", mode="before")
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

    @field_validator("trusted", "local_roots", "admin_host_names", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        known = {*self.registries, "local"}
        for unknown in sorted((self.trusted | set(self.webhook_secrets)) - known):
            raise ValueError(f"there is no registry {unknown!r}; name it with --registry first")
        return self

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
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise PointsmanError(Kind.INVALID, f"{name}: {first['msg']}") from None
    return found.model_copy(update={"data": found.data.absolute()})


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
