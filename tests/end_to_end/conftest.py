"""What the end-to-end tests share: one registry with three trained models, one prepared project.

Preparing the models takes longest, so it is done once; every test gets a copy of that data
directory and starts a Pointsman of its own on it.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.end_to_end.serving import EXAMPLE, Serving
from tests.peers import environments

from pointsman.demo import servers
from pointsman.demo.processes import Process, Processes, answers, python

TRAIN_LIMIT_S = 180.0
WORKERS = ("--workers", "2")

Start = Callable[..., Serving]


class Registry:
    """A real MLflow server with the income models; stopped, it starts again on demand."""

    def __init__(self, home: Path, processes: Processes) -> None:
        self._home = home
        self._processes = processes
        self._process: Process | None = None
        self._url = ""

    def launch(self) -> str:
        """Where it is going to be; it is being started."""
        if self._process is None or not self._process.alive():
            port = int(self._url.rpartition(":")[2]) if self._url else 0
            self._process, self._url = servers.mlflow(self._processes, self._home, port)
        return self._url

    @property
    def url(self) -> str:
        """Where it is, running."""
        url = self.launch()
        assert self._process is not None
        self._process.wait_until(lambda: answers(f"{url}/health"), servers.START_LIMIT_S)
        return url

    @property
    def arguments(self) -> tuple[str, ...]:
        """For `pointsman serve`."""
        return ("--registry", f"demo={self.url}", "--trust-registry", "demo")

    def stop(self, limit_s: float = 10.0) -> None:
        """Asks it to end; kills it after so long, 0 = at once."""
        if self._process is not None:
            self._process.stop(limit_s)


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Every process the tests start; ended with the session, whatever happened."""
    with Processes(tmp_path_factory.mktemp("logs")) as started:
        yield started


@pytest.fixture(scope="session")
def registry(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = Registry(tmp_path_factory.mktemp("mlflow"), processes)
    # Training waits for the server by itself: the two start at once.
    command = python(str(EXAMPLE / "train.py"), "--tracking-uri", made.launch())
    processes.start("train", command).finish(TRAIN_LIMIT_S)
    return made


@pytest.fixture(scope="session")
def mistake(registry: Registry, processes: Processes) -> str:
    """The version of `income` that learned that all men earn little: valid, fast, harmful."""
    command = python(str(EXAMPLE / "train.py"), "--tracking-uri", registry.url, "--mistake")
    trained = processes.start("train-mistake", command)
    trained.finish(TRAIN_LIMIT_S)
    return re.findall(r"income version (\d+) @mistake", trained.said())[0]


@pytest.fixture(scope="session")
def prepared(
    registry: Registry, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A data directory with the income project applied and nobody running on it, and its token."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    serving = Serving(processes, data, "", (*WORKERS, *registry.arguments))
    serving.start(project="")
    serving.apply((EXAMPLE / "project.yaml").read_text())
    serving.wait(lambda: serving.get("/v2/models/income/ready")[0] == 200)
    serving.stop()
    return data, serving.token


@pytest.fixture(scope="session")
def shared(
    prepared: tuple[Path, str],
    registry: Registry,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Serving]:
    """A Pointsman that tests only ask, and never harm."""
    template, token = prepared
    data = tmp_path_factory.mktemp("shared") / "data"
    shutil.copytree(template, data)
    made = Serving(processes, data, token, (*WORKERS, *registry.arguments))
    made.start()
    yield made
    made.running.process.stop(20)


@pytest.fixture
def start(
    prepared: tuple[Path, str], registry: Registry, processes: Processes, tmp_path: Path
) -> Iterator[Start]:
    """Starts a Pointsman on a copy of the prepared data; stopped at the end of the test."""
    template, token = prepared
    started: list[Serving] = []

    def begin(*arguments: str) -> Serving:
        data = tmp_path / f"data-{len(started)}"
        shutil.copytree(template, data)
        made = Serving(processes, data, token, (*(arguments or WORKERS), *registry.arguments))
        started.append(made)
        made.start()
        return made

    yield begin
    for made in started:
        made.running.process.stop(20)


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """The interpreter of a peer's environment; installing it is said aloud, once."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return lambda name: environments.python(name, say)
