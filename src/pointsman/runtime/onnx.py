"""Compiled models in the gateway worker: ONNX Runtime on one thread, checked before and after.

Imports numpy and onnxruntime only. Loading is slow (tens of milliseconds) and belongs off the event
loop; scoring takes microseconds and belongs on it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import UNREADABLE, Kind, PointsmanError
from pointsman.domain.table import Feature, Runtime
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.checks import PROBE_TOLERANCE, ROUNDING, SUM_TOLERANCE, checked
from pointsman.runtime.rows import Row, RowEncoder


class OnnxModel:
    """One loaded model. `score` may be called from one thread at a time."""

    def __init__(
        self,
        manifest: ArtifactManifest,
        graph: bytes,
        features: Sequence[Feature],
        threads: int = 1,
    ) -> None:
        self.manifest = manifest
        self._session = _session(graph, threads, manifest.source)
        self._encoders = tuple(RowEncoder(source, features) for source in manifest.inputs)
        self._only = self._encoders[0] if len(self._encoders) == 1 else None
        self._outputs = [manifest.probabilities]
        self._classes = len(manifest.classes)
        in_order = manifest.order == tuple(range(self._classes))
        self._order = None if in_order else list(manifest.order)
        self._features = tuple(features)

    @classmethod
    def load(
        cls,
        manifest: ArtifactManifest,
        blobs: BlobStore,
        features: Sequence[Feature],
        *,
        threads: int = 1,
    ) -> "OnnxModel":
        """The model, loaded from the very bytes that were checked, and warm.

        features: the project's, in the order rows will have
        Raises PointsmanError: UNAVAILABLE where a blob is missing, INVALID where the features do
        not fit, BACKEND_FAILED where the model does not load or misses its golden rows.
        """
        if manifest.runtime is not Runtime.ONNX or len(manifest.files) != 1:
            raise PointsmanError(
                Kind.INVALID,
                f"{manifest.source} is not a compiled model: {manifest.reason}",
                hint="native models run in the model runner",
            )
        model = cls(manifest, blobs.read(manifest.files[0].digest), features, threads)
        model.warm()
        return model

    def warm(self) -> None:
        """Scores the golden rows. Raises PointsmanError(BACKEND_FAILED) where they differ."""
        names = [feature.name for feature in self._features]
        probes = self.manifest.probe_rows
        if not probes:
            return
        expected = np.array(self.manifest.probe_probabilities)
        scores = self.score([[probe.get(name) for name in names] for probe in probes])
        one_by_one = self.score([[probes[0].get(name) for name in names]])
        tolerance = PROBE_TOLERANCE
        if self.manifest.parity is not None:
            # Parity was against the original; this machine may differ a little from that machine.
            tolerance += self.manifest.parity.tolerance
        worst = max(
            float(np.abs(scores - expected).max()), float(np.abs(one_by_one - expected[:1]).max())
        )
        if not worst <= tolerance:
            raise PointsmanError(
                Kind.BACKEND_FAILED,
                f"{self.manifest.source} misses its golden rows by {worst:.2g}",
                hint="prepare the model again; until then the model loaded before stays in place",
            )

    def score(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Probabilities [n, K] in the project's class order.

        rows: values in the order of the project's features; None is missing
        Raises PointsmanError: INVALID for a value the model cannot take, BACKEND_FAILED where the
        model fails or what it returns are not probabilities.
        """
        only = self._only
        if only is not None:
            feeds = {only.name: only.encode(rows)}
        else:
            feeds = {encoder.name: encoder.encode(rows) for encoder in self._encoders}
        try:
            scores = self._session.run(self._outputs, feeds)[0]
        except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own making
            raise self._failed(f"failed: {str(error)[:300]}") from None
        if scores.dtype != np.float64:
            scores = scores.astype(np.float64)
        if self._order is not None:
            scores = scores[:, self._order]
        if len(rows) == 1 and scores.shape == (1, self._classes):
            values = scores[0].tolist()
            total = sum(values)
            # A NaN or an infinity fails the comparison, so this checks for them as well.
            lowest = min(values)
            if not (abs(total - 1.0) <= SUM_TOLERANCE and lowest >= -ROUNDING):
                raise self._failed(f"returned {values[:8]}, {UNREADABLE}")
            if lowest < 0.0:
                scores = np.clip(scores, 0.0, 1.0)
            return scores  # type: ignore[no-any-return] # onnxruntime is untyped
        return checked(scores, len(rows), self._classes, self.manifest.source)

    def _failed(self, what: str) -> PointsmanError:
        return PointsmanError(Kind.BACKEND_FAILED, f"{self.manifest.source} {what}")


def session_options(threads: int) -> Any:
    """Options for many small calls: no thread pools, all graph optimisations, quiet."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return options


def _session(graph: bytes, threads: int, source: str) -> Any:
    try:
        return onnxruntime.InferenceSession(
            graph, session_options(threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own making
        raise PointsmanError(
            Kind.BACKEND_FAILED, f"{source} does not load: {str(error)[:300]}"
        ) from None
