"""A gateway worker as a process of its own, on real sockets, with real ONNX models."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pointsman.decide.allocation import initial
from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactFile, ArtifactInput, ArtifactManifest
from pointsman.domain.records import Record
from pointsman.domain.table import (
    Attribute,
    AttributeType,
    Feature,
    FeatureType,
    Manifest,
    ProjectTable,
    Rule,
    Runtime,
    TableRow,
    Variant,
    digest,
    encode,
)
from pointsman.journal.codec import decode_payload
from pointsman.journal.reader import Tail
from pointsman.runtime.blobs import BlobStore
from scripted_controller import ScriptedController

FEATURES = (
    Feature("amount", FeatureType.DOUBLE),
    Feature("age-years", FeatureType.LONG),
    Feature("country", FeatureType.STRING),
    Feature("vip", FeatureType.BOOLEAN, required=False),
)
CLASSES = ("legit", "fraud")
CONTEXT = (
    Attribute("account", AttributeType.STRING),
    Attribute("amount", AttributeType.DOUBLE),
    Attribute("channel", AttributeType.STRING, required=False, default="web"),
)
ROW = {"amount": 12.5, "age-years": 41, "country": "DE", "vip": True}


def graph(weights, bias=0.0, *, function="Softmax"):
    """Bytes of an ONNX model: two numbers in, probabilities of (legit, fraud) out.

    function: `Softmax`, or `Sqrt` for one that answers NaN where the score is negative
    """
    column = np.array([[0.0, weights[0]], [0.0, weights[1]]])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["z"]),
    ]
    if function == "Softmax":
        nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=1))
    else:
        nodes.append(helper.make_node("Sqrt", ["z"], ["s"]))
        nodes.append(helper.make_node("Softmax", ["s"], ["p"], axis=1))
    built = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 2])],
        [helper.make_tensor_value_info("p", TensorProto.DOUBLE, [None, 2])],
        [
            numpy_helper.from_array(column, "w"),
            numpy_helper.from_array(np.array([0.0, bias]), "b"),
        ],
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def probability(weights, bias=0.0, row=ROW):
    """What `graph` answers for fraud."""
    z = weights[0] * row["amount"] + weights[1] * row["age-years"] + bias
    return float(1.0 / (1.0 + np.exp(-z)))


class World:
    """A data directory with models and tables in it, and workers on it."""

    def __init__(self, root):
        self.root = root
        self.data = root / "data"
        self.blobs = BlobStore(root / "controller-blobs")
        self.workers = []
        self.controller = None

    def model(self, weights=(0.1, 0.01), bias=-1.0, **more):
        """The digest of a prepared model."""
        return self.prepared(graph(weights, bias, **more))

    def prepared(self, content, *, classes=CLASSES):
        name = self.blobs.put_bytes(content)
        manifest = ArtifactManifest(
            source="models:/fraud/1",
            origin="0" * 64,
            flavor="onnx",
            runtime=Runtime.ONNX,
            reason="compiled to ONNX: by hand",
            features=FEATURES[:2],
            inputs=(ArtifactInput("x", "float64", ("amount", "age-years")),),
            classes=classes,
            order=(0, 1),
            files=(ArtifactFile("model.onnx", name, len(content)),),
            parity=None,
            probabilities="p",
        )
        return self.blobs.put_bytes(artifact.encode(manifest))

    def project(self, variants, rules=None, *, name="fraud", number=1, **more):
        """A table; variants by name: an artifact digest, a class (a constant), or a Variant."""
        made = []
        for key, what in variants.items():
            if isinstance(what, Variant):
                made.append(what)
            elif what in CLASSES:
                made.append(Variant(key, "constant", "", "", Runtime.CONSTANT, constant=what))
            else:
                version = str(len(made) + 1)
                made.append(Variant(key, version, f"models:/fraud/{version}", what, Runtime.ONNX))
        fields = {
            "tenant": "default",
            "project": name,
            "revision": "r" * 64,
            "number": number,
            "classes": CLASSES,
            "positive": "fraud",
            "unit": "account",
            "context": CONTEXT,
            "features": FEATURES,
            "variants": tuple(made),
            "rules": tuple(rules or (rule(use="champion"),)),
            "deadline_ms": 2000,
        } | more
        return ProjectTable(**fields)

    def manifest(self, projects, version=1, **more):
        rows = []
        for table in projects:
            blob = encode(table)
            self.blobs.put_bytes(blob)
            needs = self._needs(table)
            rows.append(TableRow(table.tenant, table.project, digest(blob), table.number, needs))
        return Manifest(version, tuple(rows), **more)

    def _needs(self, table):
        needed = []
        for variant in table.variants:
            if variant.artifact and self.blobs.has(variant.artifact):
                needed.append(variant.artifact)
                files = artifact.decode(self.blobs.read(variant.artifact)).files
                needed += [file.digest for file in files]
        return tuple(needed)

    def publish(self, projects, version=1, **more):
        """Through the controller where there is one, else as the last known good on disk."""
        content = encode(self.manifest(projects, version, **more))
        if self.controller is not None:
            self.controller.publish(content)
        else:
            path = self.data / "gateway" / "table.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def start_controller(self):
        self.controller = ScriptedController(self.blobs)
        return self.controller

    def worker(self, slot=0, *, wait=True, listener=None, disk="", **settings):
        """A running worker. settings: of WorkerSettings, `limits` as a dict.

        listener: the socket it shares with other workers; one of its own without
        disk: Python run before the worker, to make the disk it writes to fail
        """
        worker = WorkerProcess(self, slot, listener or listening(), disk, settings)
        self.workers.append(worker)
        if wait:
            worker.wait_ready()
        return worker

    def close(self):
        for worker in self.workers:
            worker.kill()
        if self.controller is not None:
            self.controller.stop()


class WorkerProcess:
    def __init__(self, world, slot, listener, disk, settings):
        self.world = world
        self.slot = slot
        self.port = listener.getsockname()[1]
        given = {
            "slot": slot,
            "fd": listener.fileno(),
            "data_dir": str(world.data),
            "die_with_parent": False,
            "poll_wait_s": 2.0,
        }
        if world.controller is not None:
            given |= {"admin_url": world.controller.url, "gateway_token": "gateway-token"}
        else:
            given["blobs_dir"] = str(world.blobs.root)
        given |= settings
        self.output = world.root / f"worker-{slot}-{time.monotonic_ns()}.log"
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"{disk}\nfrom pointsman.gateway.worker import main; main()",
                ],
                env={**os.environ, "POINTSMAN_WORKER": json.dumps(given)},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
            )
        # Kept open here where the test shares it, closed with the last reference where it does not.

    def wait_ready(self, timeout_s=20.0):
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(OSError):
                # Others may answer on a shared socket: the report says that this one is there.
                if self.report()["pid"] == self.process.pid and self._ready():
                    return self
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.said()}")

    def _ready(self):
        return self.get("/v2/health/ready")[0] == 200

    def said(self):
        return self.output.read_text()

    def connect(self, timeout_s=10.0):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def raw(self, data, *, timeout_s=10.0):
        """Sends bytes and reads one answer: (status, headers, body)."""
        with self.connect(timeout_s) as connection:
            connection.sendall(data)
            return read_answer(connection.makefile("rb"))

    def get(self, path, headers=None):
        return self.raw(request("GET", path, b"", headers))

    def post(self, path, body, headers=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, got, answer = self.raw(request("POST", path, content, headers))
        return status, got, answer

    def predict(self, features=None, *, project="fraud", headers=None, **more):
        """The answer of `:predict` as (status, headers, object)."""
        body = {"features": ROW if features is None else features, **more}
        status, got, answer = self.post(f"/v1/projects/{project}:predict", body, headers)
        return status, got, json.loads(answer)

    def metrics(self):
        """Samples by their text before the value."""
        text = self.get("/metrics")[2].decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def report(self):
        path = self.world.data / "gateway" / "workers" / f"{self.slot}.json"
        return json.loads(path.read_bytes())

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s=30.0):
        return self.process.wait(timeout_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def records(self):
        """Every record of this slot's journal, in order."""
        return journal(self.world.data / "journal" / f"worker-{self.slot}")


def listening():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(512)
    return made


def journal(directory: Path) -> list[Record]:
    """Every record of a stream, in order; a fault in it fails the test."""
    found: list[Record] = []
    tail = Tail(directory, directory.name)
    while (reading := tail.read()).frames or reading.faults:
        assert not reading.faults
        for frame in reading.frames:
            records, unknown = decode_payload(frame.payload)
            assert unknown == 0
            found += records
    tail.close()
    return found


def rule(name="all", use="", split=None, when=None, **more):
    fields = {
        "name": name,
        "when": when,
        "use": use,
        "allocation": None if split is None else initial(split),
        "salt": f"salt-{name}",
        "holdout": 0,
        "holdout_salt": f"holdout-{name}",
        "shadows": (),
        "fallback": (),
        "epoch": 1,
    } | more
    return Rule(**fields)


def request(method, path, body=b"", headers=None):
    lines = {"host": "localhost", "content-length": str(len(body)), **(headers or {})}
    if method == "GET" and not body:
        del lines["content-length"]
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    return head.encode("latin-1") + b"\r\n" + body


def read_answer(stream):
    """(status, headers, body) of one HTTP answer with a content length; status 0 at the end."""
    status = stream.readline()
    if not status:
        return 0, {}, b""
    headers = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode()] = value.strip().decode()
    body = stream.read(int(headers.get("content-length", 0)))
    return int(status.split()[1]), headers, body


def until(holds, timeout_s=10.0):
    """Waits until something holds; whether it came to. A refused connection is not yet."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if holds():
                return True
        time.sleep(0.02)
    return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def new_world():
    """For modules that need a second world; whoever makes one closes it."""
    return World


@pytest.fixture(scope="session")
def kit():
    """What tests build requests and tables with."""
    return Kit


class Kit:
    listening = staticmethod(listening)
    request = staticmethod(request)
    read_answer = staticmethod(read_answer)
    until = staticmethod(until)
    rule = staticmethod(rule)
    probability = staticmethod(probability)
    journal = staticmethod(journal)
    graph = staticmethod(graph)
    row = ROW
    digest = staticmethod(lambda table: digest(encode(table)))
    replace = staticmethod(msgspec.structs.replace)
