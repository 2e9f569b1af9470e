"""The service to compare with: FastAPI and scikit-learn, as most teams write it.

Three things are in its favour. The handler is `async def`: a plain `def` would cost it a thread a
request, and on one core the model blocks either way. A model of numbers alone gets an array, not a
table. And it keeps no record of what it answered.
"""

import os
from typing import Any

import joblib
import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

MODEL = joblib.load(os.environ["BENCH_MODEL"])
ARRAY = os.environ["BENCH_ARRAY"] == "1"
CLASSES = [str(name) for name in MODEL.classes_]
FIELDS: dict[str, Any] = {
    name: (float if kind == "double" else str, ...)
    for name, kind in (pair.split(":") for pair in os.environ["BENCH_COLUMNS"].split(","))
}
Row: type[BaseModel] = create_model("Row", **FIELDS)

app = FastAPI()


@app.post("/predict")
async def predict(row: Row) -> dict[str, Any]:  # type: ignore[valid-type] # made from the columns
    values = row.model_dump()  # type: ignore[attr-defined] # as above
    given = np.array([list(values.values())]) if ARRAY else pd.DataFrame([values])
    scores = MODEL.predict_proba(given)[0]
    best = int(scores.argmax())
    return {
        "class": CLASSES[best],
        "probabilities": dict(zip(CLASSES, scores.tolist(), strict=True)),
    }


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}
