"""What is benchmarked: one fitted pipeline, rows to ask about, and what it must answer.

`mixed` is the champion of the income example: scaled numbers and one-hot categories of the Adult
data in front of a logistic regression, the shape most tabular models have. `numeric` is scaling and
logistic regression on the five numeric columns alone, given to the other servers as bare arrays,
which is where scikit-learn is at its fastest: the hardest comparison.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import joblib
import pandas as pd
from examples.income import train
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

ROWS: Final = 512
CLASSES: Final = ("<=50K", ">50K")
"""As scikit-learn sorts them, which is also the project's order."""


class Subject(NamedTuple):
    """One model and its questions.

    framed: fitted on a table with names, as the registry's version is
    served: the same model as the other servers load it, fitted on an array where that is faster
    columns: name and kind (`double`, `string`)
    expected: probability of `>50K` for each row
    """

    name: str
    title: str
    framed: Pipeline
    served: Pipeline
    columns: dict[str, str]
    rows: list[dict[str, Any]]
    expected: list[float]

    @property
    def array(self) -> bool:
        """Whether the other servers get a bare array instead of named columns."""
        return self.framed is not self.served


def mixed() -> Subject:
    columns = dict.fromkeys(train.NUMERIC, "double") | dict.fromkeys(train.CATEGORICAL, "string")
    known, asked = train.read("train"), train.read("test").head(ROWS)[list(columns)]
    pipeline = train.logistic().fit(known[list(columns)], known["income"])
    expected = pipeline.predict_proba(asked)[:, 1].tolist()
    rows = _rows(asked)
    title = "5 numbers, 8 categories"
    return Subject("mixed", title, pipeline, pipeline, columns, rows, expected)


def numeric() -> Subject:
    def pipeline() -> Pipeline:
        return Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())])

    known, asked = train.read("train"), train.read("test").head(ROWS)[train.NUMERIC]
    framed = pipeline().fit(known[train.NUMERIC], known["income"])
    served = pipeline().fit(known[train.NUMERIC].to_numpy(), known["income"])
    expected = framed.predict_proba(asked)[:, 1].tolist()
    rows = _rows(asked)
    columns = dict.fromkeys(train.NUMERIC, "double")
    return Subject("numeric", "5 numbers", framed, served, columns, rows, expected)


SUBJECTS: Final = {"mixed": mixed, "numeric": numeric}


def as_row(subject: Subject, row: int) -> bytes:
    """For the FastAPI service: the row as an object."""
    return json.dumps(subject.rows[row]).encode()


def as_features(subject: Subject, row: int) -> bytes:
    """For Pointsman's own `:predict`: the row, who it is about, and what the rules look at."""
    body = {"unit": _unit(row), "context": _context(row), "features": subject.rows[row]}
    return json.dumps(body).encode()


def as_tensors(subject: Subject, row: int) -> bytes:
    """For the Open Inference Protocol of Pointsman: identity as parameters, and the tensors."""
    parameters = {"unit": _unit(row)} | _context(row)
    return json.dumps({"parameters": parameters, "inputs": _tensors(subject, row)}).encode()


def as_bare_tensors(subject: Subject, row: int) -> bytes:
    """For MLServer: the same tensors."""
    return json.dumps({"inputs": _tensors(subject, row)}).encode()


def _tensors(subject: Subject, row: int) -> list[dict[str, Any]]:
    """One tensor of all columns where the model takes an array, else one a column."""
    if subject.array:
        data = list(subject.rows[row].values())
        return [{"name": "rows", "shape": [1, len(data)], "datatype": "FP64", "data": data}]
    return [
        {
            "name": column,
            "shape": [1],
            "datatype": "FP64" if kind == "double" else "BYTES",
            "data": [subject.rows[row][column]],
        }
        for column, kind in subject.columns.items()
    ]


def http(path: str, host: str, body: bytes) -> str:
    """A whole request, as common clients send it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head + body.decode()


def example(subject: Subject, count: int = 100) -> pd.DataFrame:
    """Rows in the pipeline's own form, for a signature and an input example."""
    return pd.DataFrame(subject.rows[:count])[list(subject.columns)]


def save(subject: Subject, path: Path) -> Path:
    """The pipeline as the other servers load it: a joblib file."""
    joblib.dump(subject.served, path)
    return path


def _rows(asked: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in asked.to_dict("records")]


def _unit(row: int) -> str:
    return f"person-{row}"


def _context(row: int) -> dict[str, Any]:
    """What the benchmark project's two conditions look at; no request meets either of them."""
    return {"country": "DE" if row % 2 else "FR", "amount": 10.0 + row}
