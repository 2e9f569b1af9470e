"""`pointsman serve` and `pointsman gateway`: a parent that owns the data socket and its children.

Light on purpose: this process imports neither SQL nor a web framework, and does nothing but hold
the socket and look after the others.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.counters import COUNTERS
from pointsman.gateway.guarding import TICK_S, GuardWatch
from pointsman.gateway.settings import ENVIRONMENT as WORKER_VARIABLE
from pointsman.gateway.settings import WorkerSettings
from pointsman.plugins.posting import is_loopback
from pointsman.store.secret import TOKEN_PREFIX, digest_of, fresh_secret
from pointsman.supervisor import Child, Supervisor
from pointsman.telemetry import switches
from pointsman.telemetry.dogstatsd import Client
from pointsman.wiring import handover, logs
from pointsman.wiring.handover import Handover
from pointsman.wiring.settings import Settings

_log = structlog.get_logger(__name__)
_LOCK: Final = "serve.lock"
_SOCKET_PATH_BYTES: Final = 100
"""Unix socket paths end at 107 bytes; below a deeper data directory the socket moves to /tmp."""
_BACKLOG: Final = 1024


def serve(wanted: Settings) -> int:
    """Runs everything on this machine until a signal; the exit code."""
    wanted.check_secrets()
    wanted.check_tracing()
    _check_exposed(wanted.admin_host, wanted, "the admin API", "--admin-host")
    _check_exposed(wanted.host, wanted, "the data plane", "--host", keys=True)
    with _owned(wanted), _data_socket(wanted) as data, _reserved_port(wanted) as admin_port:
        return _Parent(wanted, data, admin_port).run()


def gateway(wanted: Settings) -> int:
    """Runs gateway workers and a model runner for a controller elsewhere; the exit code."""
    wanted.check_tracing()
    _check_exposed(wanted.host, wanted, "the data plane", "--host")
    if not wanted.admin_url:
        raise PointsmanError(
            Kind.INVALID,
            "a gateway has to know where its tables come from",
            hint="give --admin-url and a token of role gateway (--gateway-token)",
        )
    with _owned(wanted), _data_socket(wanted) as data:
        return _Parent(wanted, data, 0).run()


class _Parent:
    """One run. admin_port: 0 = the controller is elsewhere"""

    def __init__(self, wanted: Settings, data: socket.socket, admin_port: int) -> None:
        self._wanted = wanted
        self._data = data
        self._admin_port = admin_port
        self._here = admin_port != 0
        self._first_token = fresh_secret(TOKEN_PREFIX)
        self._gateway_token = fresh_secret("pmg").text if self._here else wanted.gateway_token
        self._runner_socket = _runner_socket(wanted)

    def run(self) -> int:
        logs.configure(self._wanted.log_level)
        children = [*self._workers(), self._runner()]
        if self._here:
            children.append(self._controller())
        self._greet()
        return asyncio.run(self._watch_over(Supervisor(children)))

    async def _watch_over(self, supervisor: Supervisor) -> int:
        beside = [asyncio.create_task(self._guard(), name="guard")]
        if self._wanted.dogstatsd:
            # Only here: it brings along what makes `/metrics`, which this process has no use for.
            from pointsman.gateway.datadog import Report

            counters = self._wanted.data / "gateway" / COUNTERS
            report = Report(counters, Client(self._wanted.dogstatsd, os.environ))
            beside.append(asyncio.create_task(report.run(), name="dogstatsd"))
        try:
            return await supervisor.run(self._announce)
        finally:
            for task in beside:
                task.cancel()

    async def _guard(self) -> None:
        """Looks at the workers' counts every second, for as long as they run."""
        gateway = self._wanted.data / "gateway"
        watch = GuardWatch(gateway, self._blobs, gateway / COUNTERS)
        while True:
            try:
                watch.tick()
            except (PointsmanError, OSError) as error:
                _log.error("the local guard could not act", error=str(error))
            except Exception:  # noqa: BLE001 - whatever it is, it is told, and the next look comes
                # A guard that ended over one fault would protect nobody from the next.
                _log.exception("the local guard failed")
            await asyncio.sleep(TICK_S)

    def _controller(self) -> Child:
        told = Handover(
            gateway_digest=digest_of(self._gateway_token),
            admin_id=self._first_token.id,
            admin_digest=self._first_token.digest,
        )
        environment = {
            **_environment(self._wanted),
            "POINTSMAN_ADMIN_PORT": str(self._admin_port),
            handover.VARIABLE: msgspec.json.encode(told).decode(),
        }

        async def ready(pid: int) -> bool:
            found = handover.read_ready(self._wanted.run)
            return found is not None and found.pid == pid

        arguments = ("-m", "pointsman.wiring.control")
        return Child("controller", arguments, environment, stage=2, ready=ready)

    def _runner(self) -> Child:
        arguments = (
            "-m",
            "pointsman.runtime.runner",
            "--socket",
            str(self._runner_socket),
            "--blobs",
            str(self._blobs),
        )

        async def ready(_: int) -> bool:
            return await asyncio.to_thread(_answers, self._runner_socket)

        return Child(
            "runner",
            arguments,
            # Models may bring code along; the keys of tracing backends are none of its business.
            hidden=self._wanted.secret_variables | switches.SECRET,
            stage=1,
            ready=ready,
        )

    def _workers(self) -> list[Child]:
        os.set_inheritable(self._data.fileno(), True)
        return [self._worker(slot) for slot in range(self._wanted.worker_count)]

    def _worker(self, slot: int) -> Child:
        wanted = self._wanted
        told = WorkerSettings(
            slot=slot,
            workers=wanted.worker_count,
            fd=self._data.fileno(),
            data_dir=str(wanted.data),
            blobs_dir=str(self._blobs) if self._here else "",
            admin_url=self._admin_url,
            gateway_token=self._gateway_token,
            runner_socket=str(self._runner_socket),
            loopback=is_loopback(wanted.host),
            insecure=wanted.insecure,
            log_level=wanted.log_level,
            tracing=wanted.tracing,
            trace_unit=wanted.trace_unit,
        )
        return Child(
            f"worker-{slot}",
            ("-m", "pointsman.gateway.worker"),
            {WORKER_VARIABLE: msgspec.json.encode(told).decode()},
            hidden=wanted.secret_variables,
            files=(self._data.fileno(),),
            stage=0,
            drain_s=told.balancer_wait_s + told.drain_s + 5.0,
            ready=self._worker_ready(slot),
        )

    def _worker_ready(self, slot: int) -> Callable[[int], Awaitable[bool]]:
        report = self._wanted.data / "gateway" / "workers" / f"{slot}.json"

        async def ready(pid: int) -> bool:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                return msgspec.json.decode(report.read_bytes(), type=_Report).pid == pid
            return False

        return ready

    @property
    def _blobs(self) -> Path:
        return self._wanted.blobs if self._here else self._wanted.data / "gateway" / "blobs"

    @property
    def _admin_url(self) -> str:
        if not self._here:
            return self._wanted.admin_url
        host = self._wanted.admin_host
        return f"http://{_reachable(host)}:{self._admin_port}"

    @property
    def _data_url(self) -> str:
        return f"http://{_reachable(self._wanted.host)}:{self._data.getsockname()[1]}"

    def _greet(self) -> None:
        _tell(f"data directory  {self._wanted.data}")
        _tell(f"data plane      {self._data_url}  ({self._wanted.worker_count} workers)")
        _tell(f"admin API       {self._admin_url}")
        if self._here:
            _tell(f"dashboard       {self._admin_url}/ui/")

    async def _announce(self) -> None:
        found = handover.read_ready(self._wanted.run) if self._here else None
        if found is not None and found.created:
            _tell(f"admin token     {self._first_token.text}")
            _tell("                shown only now: export POINTSMAN_TOKEN=...")
        _tell("ready; try:")
        _tell(f"  curl {self._data_url}/v2/health/ready")


class _Report(msgspec.Struct, frozen=True):
    """The one thing a parent reads in a worker's report."""

    pid: int


def _check_exposed(
    host: str, wanted: Settings, what: str, option: str, *, keys: bool = False
) -> None:
    """Refuses an address beyond loopback unless the operator means it."""
    if is_loopback(host) or wanted.insecure:
        return
    if keys:
        from pointsman.wiring.offline import has_data_keys

        if has_data_keys(wanted.data):
            return
        raise PointsmanError(
            Kind.FORBIDDEN,
            f"{option} {host}: {what} would be open to others, and there is no data key",
            hint="make one first: pointsman key create NAME --data DIR; or, on a network you "
            "trust, --insecure",
        )
    raise PointsmanError(
        Kind.FORBIDDEN,
        f"{option} {host}: {what} would be reached beyond this machine, without TLS",
        hint="keep it on loopback behind a proxy with TLS, or say --insecure",
    )


@contextlib.contextmanager
def _owned(wanted: Settings) -> Iterator[None]:
    """The data directory for this parent alone."""
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        wanted.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(wanted.run / _LOCK, flags, 0o600)
    except OSError as error:
        raise PointsmanError(
            Kind.INVALID,
            f"--data {wanted.data}: cannot be written to: {error.strerror}",
            hint="name a directory of this user on a disk that can be written to",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise PointsmanError(
            Kind.CONFLICT,
            f"{wanted.data}: another `pointsman serve` runs on this data directory",
            hint="stop it, or give this one its own with --data",
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _data_socket(wanted: Settings) -> Iterator[socket.socket]:
    """The listening socket all workers share: it outlives each of them, so none loses a client."""
    listener = _bound(wanted.host, wanted.port, "--port")
    try:
        listener.listen(_BACKLOG)
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _reserved_port(wanted: Settings) -> Iterator[int]:
    """A port kept for the controller while it is being restarted. Nobody listens on it here, so
    that calls meanwhile are refused at once instead of waiting."""
    # Alone first: a shared bind would succeed beside another installation's controller.
    alone = _bound(wanted.admin_host, wanted.admin_port, "--admin-port")
    port = int(alone.getsockname()[1])
    alone.close()
    holder = _bound(wanted.admin_host, port, "--admin-port", shared=True)
    try:
        yield holder.getsockname()[1]
    finally:
        holder.close()


def _bound(host: str, port: int, option: str, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise PointsmanError(
            Kind.CONFLICT,
            f"{host}:{port} cannot be used: {error.strerror}",
            hint=f"another program listens there, or the address is not ours; see {option}",
        ) from None
    return found


def _runner_socket(wanted: Settings) -> Path:
    path = wanted.run / "runner.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    return Path(tempfile.mkdtemp(prefix="pointsman-")) / "runner.sock"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _reachable(host: str) -> str:
    """An address to call what is bound to `host`."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - recognised here, not bound
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _environment(wanted: Settings) -> dict[str, str]:
    """The settings as the environment of a process that loads them again."""
    pairs = {
        "DATA": str(wanted.data),
        "ADMIN_HOST": wanted.admin_host,
        "REGISTRIES": _joined(wanted.registries),
        "REGISTRY_TOKENS": _joined(wanted.registry_tokens),
        "REGISTRY_LOGINS": _joined(wanted.registry_logins),
        "WEBHOOK_SECRETS": _joined(wanted.webhook_secrets),
        "NOTIFY": wanted.notify,
        "NOTIFY_SECRET": wanted.notify_secret,
        "RECEIVERS": _joined(wanted.receivers),
        "RECEIVER_SECRETS": _joined(wanted.receiver_secrets),
        "HTTP_RECEIVERS": ",".join(sorted(wanted.http_receivers)),
        "DASHBOARD_URL": wanted.dashboard_url,
        "TRUSTED": ",".join(sorted(wanted.trusted)),
        "LOCAL_ROOTS": ",".join(str(root) for root in wanted.local_roots),
        "ADMIN_HOST_NAMES": ",".join(sorted(wanted.admin_host_names)),
        "INSECURE": str(wanted.insecure).lower(),
        "POLL_S": str(wanted.poll_s),
        "LOG_LEVEL": wanted.log_level,
        "TRACING": str(wanted.tracing).lower(),
        "TRACE_UNIT": wanted.trace_unit,
        "DOGSTATSD": wanted.dogstatsd,
    }
    return {f"POINTSMAN_{name}": value for name, value in pairs.items()}


def _joined(pairs: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in pairs.items())


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
