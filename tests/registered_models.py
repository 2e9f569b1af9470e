"""Models in a real registry for tests that need some, whatever they predict."""

import os

from mlflow_server import MlflowServerProcess


class Models:
    """Registered models, each with two versions that fit and a third with other classes.

    Versions are prepared once a controller, so tests that need nothing but an alias of their own
    share the model `shared`.
    """

    def __init__(self, server: MlflowServerProcess) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        import mlflow
        import mlflow.sklearn
        import numpy as np
        import pandas as pd
        from sklearn.linear_model import LogisticRegression

        mlflow.set_tracking_uri(server.url)
        rows = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(1, 0, 40)})
        self.client = mlflow.MlflowClient()
        self._sources = []
        self._shared = False
        for labels in (("no", "yes"), ("no", "yes"), ("no", "maybe")):
            model = LogisticRegression(C=1.0 + len(self._sources)).fit(rows, np.repeat(labels, 20))
            with mlflow.start_run():
                info = mlflow.sklearn.log_model(
                    model,
                    name="model",
                    input_example=rows.head(3),
                    pip_requirements=["scikit-learn"],
                )
            self._sources.append(info.model_uri)

    def alias(self, name: str) -> None:
        """An alias of a test's own, on version 1 of the model all share."""
        if not self._shared:
            self.register("shared")
            self._shared = True
        self.point("shared", "1", name)

    def register(self, name: str) -> None:
        """Versions 1 to 3 under a name of a test's own, the alias champion on 1."""
        import mlflow

        for source in self._sources:
            mlflow.register_model(source, name)
        self.point(name, "1")

    def add(self, name: str) -> None:
        """One more version."""
        import mlflow

        mlflow.register_model(self._sources[0], name)

    def point(self, name: str, version: str, alias: str = "champion") -> None:
        self.client.set_registered_model_alias(name, alias, version)
