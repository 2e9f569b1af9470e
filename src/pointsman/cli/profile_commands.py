"""profile: what inputs are compared with, from a file such as the training data."""

# ruff: noqa: FBT002 - a parameter of a command is an option of it

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from pointsman.cli.output import say, structured
from pointsman.cli.session import Session, reporting
from pointsman.domain.errors import Kind, PointsmanError

if TYPE_CHECKING:
    from pointsman.plugins.mlflow import MlflowRegistry

_SAMPLE: Final = "SELECT * FROM file USING SAMPLE reservoir(200000 ROWS) REPEATABLE (7)"
"""Of a file; more rows make the bins no better."""
_NAMED: Final = frozenset({"string", "boolean"})
_MLMODEL_BYTES: Final = 1 << 20

Kinds = dict[str, Literal["number", "category"]]


def register(app: typer.Typer) -> None:
    app.command()(profile)


def profile(  # noqa: PLR0913, PLR0917 - one parameter an option
    context: typer.Context,
    project: Annotated[
        str, typer.Argument(metavar="[PROJECT]", help="With --model it may be left out.")
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help=".parquet, .csv, .csv.gz or .jsonl")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="models:/NAME/3",
            help="Log it beside this version: the reference wherever the version is champion.",
        ),
    ] = "",
    tracking_uri: Annotated[
        str,
        typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="Of the MLflow server."),
    ] = "",
    forget: Annotated[bool, typer.Option("--forget", help="Give up what was declared.")] = False,
) -> None:
    """Declare a file, such as the training data, as what inputs are compared with."""
    session: Session = context.obj
    with reporting():
        if model and not forget:
            if file is None:
                project, file = "", Path(project)
            say(_logged(session, project, file, model, tracking_uri))
            return
        client, place = session.client(), session.project(project)
        if forget == (file is not None) or model:
            raise PointsmanError(
                Kind.INVALID,
                "name a file, or give up what was declared",
                hint="pointsman profile NAME FILE, or pointsman profile NAME --forget",
            )
        if file is None:
            found = client.call("DELETE", f"{place}/reference").body
        else:
            made = _profiled(file, client.get(place)["features"])
            found = client.call("PUT", f"{place}/reference", body=made).body
        if not structured(found, session.output):
            say(found["sentence"])


def _logged(session: Session, project: str, file: Path, model: str, url: str) -> str:
    """Puts the profile beside the version; what is said of it. project: whose features, or empty
    for those of the version's own signature"""
    from pointsman.ports import PROFILE_FILE
    from pointsman.runtime.formats import features_of
    from pointsman.spec import references

    registry = _registry(url)
    version = registry.resolve(references.split(model)[1])
    if project:
        features = session.client().get(session.project(project))["features"]
    else:
        document = registry.attached(version, "MLmodel", _MLMODEL_BYTES)
        signed = () if document is None else features_of(document)
        features = [{"name": one.name, "type": one.type.value} for one in signed]
        if not features:
            raise PointsmanError(
                Kind.INVALID,
                f"{version.uri} has no signature with named columns",
                hint=f"name a project that has: pointsman profile PROJECT {file} --model {model}",
            )
    registry.attach(version, PROFILE_FILE, _profiled(file, features))
    return (
        f"{PROFILE_FILE} is logged beside {version.uri}: inputs of a project are compared with it "
        "while this version is its champion, unless somebody declares another"
    )


def _registry(url: str) -> "MlflowRegistry":
    """The MLflow server, with the credentials MLflow's own clients use."""
    from pointsman.plugins.mlflow import MlflowRegistry, MlflowServer

    if not url:
        raise PointsmanError(
            Kind.INVALID,
            "which MLflow server?",
            hint="name it with --tracking-uri or MLFLOW_TRACKING_URI",
        )
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    login = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
    sent = f"Bearer {token}" if token else ""
    if user and not token:
        sent = f"Basic {base64.b64encode(login.encode()).decode()}"
    return MlflowRegistry(MlflowServer("mlflow", url, authorization=lambda: sent))


def _profiled(file: Path, features: Sequence[dict[str, Any]]) -> bytes:
    """The profile of a file's columns that are features."""
    import msgspec

    from pointsman.judge.profile import Profile, profiled

    rows, columns = _read(file)
    kinds: Kinds = {
        feature["name"]: "category" if feature["type"] in _NAMED else "number"
        for feature in features
        if feature["name"] in columns
    }
    if not kinds:
        raise PointsmanError(
            Kind.INVALID,
            f"{file} has no column that is a feature",
            hint=f"features are {', '.join(feature['name'] for feature in features[:10])}",
        )
    for name in (feature["name"] for feature in features if feature["name"] not in columns):
        say(f"{file} has no column {name}: it is not compared")
    made = Profile(
        features=profiled(rows, kinds),
        n=len(rows),
        effective=float(len(rows)),
        source=f"{file.name}, {len(rows):,} rows",
    )
    return msgspec.json.encode(made)


def _read(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of a file, a sample of them where there are many, and the names of its columns."""
    import duckdb

    readers = {".parquet": "read_parquet", ".jsonl": "read_json", ".csv": "read_csv"}
    suffix = next((end for end in (".parquet", ".jsonl", ".csv") if end in file.suffixes), "")
    if not suffix:
        raise PointsmanError(
            Kind.INVALID,
            f"{file} is none of .parquet, .csv, .csv.gz and .jsonl",
            hint="write the data in one of these",
        )
    try:
        with duckdb.connect() as connection:
            every = getattr(connection, readers[suffix])(str(file))
            found = every.query("file", _SAMPLE)
            columns = [column[0] for column in found.description]
            rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise PointsmanError(
            Kind.INVALID, f"{file} cannot be read: {str(error).splitlines()[0]}"
        ) from None
    if not rows:
        raise PointsmanError(Kind.INVALID, f"{file} has no rows")
    return rows, columns
