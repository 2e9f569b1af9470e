"""What one gateway worker is told at start: JSON in the environment variable POINTSMAN_WORKER."""

import os
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError

ENVIRONMENT: Final = "POINTSMAN_WORKER"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds at the edge. Everything beyond them is refused with an error that names the bound.

    head_bytes: request line and headers
    body_bytes: body of a request with one row, of `:decide` and of feedback
    batch_bytes: body of a request with several rows; also the cap on unpacked bytes
    unpack_ratio: most a gzip or deflate body may grow by
    rows: of one request
    depth: nested arrays and objects of a JSON body
    connections: open at once in one worker
    head_s: from the first byte (of a new connection: from accept) to the end of the headers
    body_s: from the end of the headers to the end of the body
    idle_s: a kept-alive connection without a request. Longer than the 60 s at which common load
        balancers give up, so that the balancer closes first and never sends into a closed socket
    write_s: a client that does not read its answers
    pending_rows: rows accepted and not yet answered, in one worker; beyond it: 503 overloaded
    buffered_bytes: body bytes of unanswered requests, in one worker; beyond it: 503 overloaded
    inline_rows: larger ONNX batches leave the event loop for a thread, so that others go on
    shadow_rows: rows waiting for shadows, in one worker; beyond it they are dropped and counted
    """

    head_bytes: int = 16 << 10
    body_bytes: int = 1 << 20
    batch_bytes: int = 16 << 20
    unpack_ratio: int = 20
    rows: int = 10_000
    depth: int = 32
    connections: int = 4096
    head_s: float = 5.0
    body_s: float = 10.0
    idle_s: float = 75.0
    write_s: float = 10.0
    pending_rows: int = 50_000
    buffered_bytes: int = 256 << 20
    inline_rows: int = 256
    shadow_rows: int = 2_000


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One worker.

    slot: 0-based number of the worker; its journal stream, counters and status file carry it, and a
        restarted worker takes the slot of its predecessor
    workers: how many of them share this gateway; 0 = not known, and not told to Prometheus
    fd: of the listening socket, inherited from the parent
    data_dir: DATA; the worker writes below DATA/journal and DATA/gateway only
    blobs_dir: the blob store; empty = DATA/gateway/blobs. In `serve` it is the controller's own
    admin_url: where tables are pulled from; empty = last-known-good only
    gateway_token: the bearer token of that pull
    runner_socket: Unix socket of the model runner; empty = native variants cannot be called
    loopback: whether the data socket is bound to a loopback address
    insecure: serve without keys although not on loopback (pins stay refused there)
    poll_wait_s: how long a pull waits for a new table
    balancer_wait_s: on SIGTERM, time between answering `not ready` and closing the listener, for a
        load balancer to notice. 0 because `serve` has none; 5 suits Kubernetes
    drain_s: for requests in flight, after that
    tracing: whether requests are traced, as the OTEL_* variables of the environment say
    trace_unit: what events say of a unit: `none`, `hashed` or `plain`
    die_with_parent: ask the kernel to end this process with its parent (Linux)
    """

    slot: int
    fd: int
    data_dir: str
    workers: int = 0
    blobs_dir: str = ""
    admin_url: str = ""
    gateway_token: str = ""
    runner_socket: str = ""
    loopback: bool = True
    insecure: bool = False
    poll_wait_s: float = 25.0
    balancer_wait_s: float = 0.0
    drain_s: float = 25.0
    die_with_parent: bool = True
    log_level: str = "info"
    tracing: bool = False
    trace_unit: str = "none"
    limits: Limits = Limits()

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    @property
    def gateway(self) -> Path:
        return self.data / "gateway"

    @property
    def blobs(self) -> Path:
        return Path(self.blobs_dir) if self.blobs_dir else self.gateway / "blobs"

    @property
    def stream(self) -> str:
        """Name of this worker's journal stream."""
        return f"worker-{self.slot}"


def from_environment() -> WorkerSettings:
    """The settings the parent left. Raises PointsmanError(INVALID) where there are none."""
    text = os.environ.get(ENVIRONMENT, "")
    if not text:
        raise PointsmanError(
            Kind.INVALID,
            f"{ENVIRONMENT} is not set",
            hint="a worker is started by `pointsman serve` or `pointsman gateway`, not by hand",
        )
    try:
        return msgspec.json.decode(text, type=WorkerSettings)
    except msgspec.DecodeError as error:
        raise PointsmanError(Kind.INVALID, f"{ENVIRONMENT}: {error}") from None
