"""The demo from its first line to its last: start, train, apply, replay, look, explain, check."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

from rich.console import Console

import pointsman
from pointsman.demo import checks, rollouts, servers
from pointsman.demo.processes import Processes, answers, python, read, surroundings
from pointsman.demo.screen import Screen
from pointsman.demo.servers import REGISTRY, Running, eventually
from pointsman.domain.errors import Kind, PointsmanError

PROJECT: Final = "income"
TRAIN_LIMIT_S: Final = 300.0
REPLAY_LIMIT_S: Final = 600.0
INGEST_LIMIT_S: Final = 60.0
STEPS: Final = 8
_OURS: Final = "demo.lock"


class Options(NamedTuple):
    """leave: end as soon as everything was shown and checked, instead of serving until Ctrl-C

    directory: of all data, made anew; rows: of traffic, None = all 16,281; rollouts: whether the
    second half is shown
    ports: wanted of the data plane, the admin API and MLflow; others where they are taken
    """

    directory: Path
    leave: bool = False
    rows: int | None = None
    rollouts: bool = True
    ports: tuple[int, int, int] = (8700, 8701, 5000)


def run(options: Options, console: Console) -> int:
    """0 where everything worked, 1 where something did not, 130 after a Ctrl-C on the way."""
    before = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        servers.check_installed()
        with _fresh(options.directory) as home, Processes(home / "logs") as processes:
            demo = Demo(options, home, processes, Screen(console, STEPS))
            fine = demo.play()
            if fine and not options.leave:
                demo.keep_serving()
            console.print("\nstopping ...", style="dim")
        return 0 if fine else 1
    except PointsmanError as error:
        console.print(f"\nerror: {error.message}", style="red", markup=False)
        if error.hint:
            console.print(f"hint: {error.hint}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything is stopped", style="dim")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


class Demo:
    """One run in one fresh directory."""

    def __init__(self, options: Options, home: Path, processes: Processes, screen: Screen) -> None:
        self.options = options
        self.home = home
        self.processes = processes
        self.screen = screen
        self.examples = find_examples()
        self.file = self.examples / "project.yaml"
        self.registry_url = ""
        self.running: Running

    def play(self) -> bool:
        """Whether everything that was checked held."""
        screen = self.screen
        screen.console.print(
            "[bold]Pointsman demo[/]: three models of income under one address, on census data. "
            "Everything stays on this machine."
        )
        with screen.step("Start a model registry and Pointsman; train and register three models"):
            self._start()
        with screen.step("Apply the project: rules, a 90/10 split, a shadow"):
            self.cli("apply", "-f", _short(self.file), "--yes")
            with screen.busy("waiting until workers are warm"):
                ready = f"{self.running.data_url}/v2/models/{PROJECT}/ready"
                self.running.process.wait_until(lambda: answers(ready), servers.START_LIMIT_S)
        with screen.step("Send the test part as traffic; its labels come some batches late"):
            replayed = self._replay()
        with screen.step("Who served what, and how well"):
            status = self._settled_status(replayed)
            self.cli("status", PROJECT)
        with screen.step("Why one person got the challenger"):
            decision = replayed["examples"].get("challenger", "")
            explained = self.asked("explain", decision)
            self.cli("explain", decision)
        with screen.step("Check that all of it is true"):
            line = self._curl_line()
            metrics = read(f"{self.running.data_url}/metrics")
            found = checks.all_of(checks.Seen(replayed, status, explained, metrics))
            found.append(("the curl line below is answered", _works(line)))
            self._show(found)
        if self.options.rollouts:
            with screen.step("A sound challenger grows by itself, and becomes the champion"):
                found += self._show(rollouts.good(self))
            with screen.step("A harmful one is forced through, caught, and taken back"):
                found += self._show(rollouts.harmful(self))
        self._farewell(line)
        return all(holds for _, holds in found)

    def _show(self, found: list[checks.Checked]) -> list[checks.Checked]:
        for what, holds in found:
            self.screen.check(what, fine=holds)
        return found

    def keep_serving(self) -> None:
        """Returns after Ctrl-C. Raises PointsmanError(UNAVAILABLE) if a server ends by itself."""
        self.screen.console.print("\n[bold]Serving until Ctrl-C.[/]")
        try:
            while True:
                for process, _ in self.processes.running:
                    if process.popen.poll():
                        process.finish(0)
                time.sleep(1)
        except KeyboardInterrupt:
            return

    def status(self) -> dict[str, Any]:
        """The project's status, straight from the admin API: it is asked for many times.

        Raises PointsmanError(UNAVAILABLE) where it is not answered.
        """
        url = f"{self.running.admin_url}/v1/tenants/default/projects/{PROJECT}/status"
        try:
            found: dict[str, Any] = json.loads(read(url, token=self.running.token))
        except OSError as error:
            raise PointsmanError(Kind.UNAVAILABLE, f"the admin API: {error}") from None
        return found

    def short(self, path: Path) -> str:
        """A path as people would type it here."""
        return _short(path)

    def cli(self, *arguments: str, fine: tuple[int, ...] = (0,)) -> None:
        """Runs a command on the terminal. Raises PointsmanError(UNAVAILABLE) where it fails.

        fine: statuses that are no failure
        """
        self.screen.command(arguments)
        # What is ours must be on the screen before what is its.
        self.screen.console.file.flush()
        done = self._run(arguments, shown=True)
        if done.returncode not in fine:
            raise PointsmanError(
                Kind.UNAVAILABLE, f"`pointsman {arguments[0]}` ended with {done.returncode}"
            )

    def tried(self, *arguments: str) -> str:
        """What a command complains about, unseen; empty where it went through."""
        done = self._run(arguments)
        return _text(done.stderr) if done.returncode != 0 else ""

    def asked(self, *arguments: str) -> dict[str, Any]:
        """What a command answers as JSON, unseen. Raises PointsmanError where it fails."""
        done = self._run((*arguments, "-o", "json"))
        if not done.stdout:
            raise PointsmanError(Kind.UNAVAILABLE, _text(done.stderr))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _run(
        self, arguments: tuple[str, ...], *, shown: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """A command that has ended. shown: on the terminal, and nothing of it kept"""
        return subprocess.run(
            python("-m", "pointsman.cli", *arguments),
            env=surroundings() | self._where(),
            stdin=subprocess.DEVNULL,
            timeout=TRAIN_LIMIT_S,
            check=False,
            capture_output=not shown,
        )

    def _where(self) -> dict[str, str]:
        return {
            "POINTSMAN_URL": self.running.admin_url,
            "POINTSMAN_TOKEN": self.running.token,
        }

    def _start(self) -> None:
        """Registry, Pointsman and training, all at once: none needs another before the end."""
        data_port, admin_port, registry_port = self.options.ports
        registry, url = servers.mlflow(self.processes, self.home / "mlflow", registry_port)
        self.registry_url = url
        training = self.processes.start(
            "train", python(str(self.examples / "train.py"), "--tracking-uri", url)
        )
        arguments = ("--registry", f"{REGISTRY}={url}", "--trust-registry", REGISTRY)
        running = servers.pointsman(
            self.processes, self.home / "data", arguments, ports=(data_port, admin_port)
        )
        with self.screen.busy("starting Pointsman"):
            self.running = servers.ready(running)
        self.screen.say(f"Pointsman  {running.data_url} (data plane), {running.admin_url} (admin)")
        with self.screen.busy("starting MLflow, training"):
            registry.wait_until(lambda: answers(f"{url}/health"), servers.START_LIMIT_S)
            self.screen.say(f"MLflow     {url}")
            training.finish(TRAIN_LIMIT_S)
        for line in training.said().splitlines():
            if line.startswith(("trained on", "registered:")):
                self.screen.say(line)

    def _replay(self) -> dict[str, Any]:
        result = self.home / "replay.json"
        command = python(str(self.examples / "replay.py"), "--gateway", self.running.data_url)
        command += ["--project", str(self.file), "--result", str(result)]
        if self.options.rows is not None:
            command += ["--rows", str(self.options.rows)]
        self.screen.console.file.flush()
        self.processes.start("replay", command, shown=True).finish(REPLAY_LIMIT_S)
        found: dict[str, Any] = json.loads(result.read_text())
        return found

    def _settled_status(self, replayed: dict[str, Any]) -> dict[str, Any]:
        """The status once all of it is ingested, or as it is when that takes too long."""
        found: dict[str, Any] = {}

        def settled() -> bool:
            found.update(self.asked("status", PROJECT))
            counted = checks.decisions(found), checks.labels(found)
            return counted == (replayed["decisions"], replayed["labels"])

        with self.screen.busy("reading the journal"):
            eventually(settled, INGEST_LIMIT_S)
        return found

    def _curl_line(self) -> str:
        body = json.dumps(_person(self.examples))
        url = f"{self.running.data_url}/v1/projects/{PROJECT}:predict"
        return f"curl -s {url} -d {shlex.quote(body)}"

    def _farewell(self, line: str) -> None:
        say = self.screen.say
        self.screen.console.print("\n[bold]Look around[/]")
        say(f"export POINTSMAN_URL={self.running.admin_url} POINTSMAN_TOKEN={self.running.token}")
        say("pointsman status income --watch")
        page = f"/p/default/{PROJECT}?last=900"
        say(f"dashboard   {self.running.admin_url}/ui/#token={self.running.token}&{page}")
        say(line)
        say(f"models      {self.registry_url}/#/models/{PROJECT}")
        say(f"metrics     {self.running.data_url}/metrics")
        say(f"data, logs  {_short(self.home)}")


def find_examples() -> Path:
    """The directory of the income example: in the installed package, else in the repository.

    Raises PointsmanError(NOT_FOUND).
    """
    package = Path(pointsman.__file__).parent
    for place in (package / "examples" / "income", package.parents[1] / "examples" / "income"):
        if (place / "project.yaml").exists():
            return place
    raise PointsmanError(
        Kind.NOT_FOUND,
        f"the example project is neither in {package} nor beside it",
        hint="run `make demo` in a clone of the repository",
    )


@contextlib.contextmanager
def _fresh(directory: Path) -> Iterator[Path]:
    """The directory, emptied of an earlier demo and locked for this one.

    Raises PointsmanError(CONFLICT) where a demo runs in it, or where it holds anything else.
    """
    directory = directory.absolute()
    lock = directory / _OURS
    if directory.exists() and any(directory.iterdir()) and not lock.exists():
        raise PointsmanError(
            Kind.CONFLICT,
            f"{directory} holds something that is not a demo's",
            hint="name an empty or new directory with --directory",
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PointsmanError(
                Kind.CONFLICT,
                f"another demo runs in {directory}",
                hint="end it with Ctrl-C, or name another place with --directory",
            ) from None
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != lock:
                entry.unlink()
        (directory / "logs").mkdir()
        yield directory


def _person(examples: Path) -> dict[str, Any]:
    """One made-up person for the curl line, in the form of the example's own requests."""
    found: dict[str, Any] = json.loads((examples / "person.json").read_text())
    return found


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip()


def _short(path: Path) -> str:
    """Relative to here where that is shorter to read."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _works(line: str) -> bool:
    """Whether the line, run as a shell would, is answered with a class.

    Where there is no curl, the same request is sent without it.
    """
    words = shlex.split(line)
    if shutil.which("curl") is None:
        with contextlib.suppress(OSError):
            return '"class"' in read(words[2], words[4].encode())
        return False
    done = subprocess.run(words, env=surroundings(), capture_output=True, timeout=30, check=False)
    return b'"class"' in done.stdout


def _as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends the demo the way Ctrl-C does: in order."""
    raise KeyboardInterrupt
