"""What the demo shows: numbered steps, the commands it runs, and how long things take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


class Screen:
    """Numbered steps on a console; plain lines where it is no terminal."""

    def __init__(self, console: Console, steps: int) -> None:
        self.console = console
        self._steps = steps
        self._step = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step, with the seconds it took."""
        self._step += 1
        started = time.monotonic()
        self.console.print()
        self.console.print(f"[bold cyan]\\[{self._step}/{self._steps}][/] [bold]{title}[/]")
        yield
        self.console.print(f"      [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A spinner while the block runs, on a terminal."""
        with self.console.status(f"{what} ..."):
            yield

    def say(self, text: str) -> None:
        self.console.print(Text(f"      {text}"), soft_wrap=True)

    def command(self, arguments: tuple[str, ...]) -> None:
        """A command as one would type it."""
        self.console.print(Text(f"      $ pointsman {' '.join(arguments)}", style="green"))

    def check(self, what: str, *, fine: bool) -> None:
        mark = Text("  ok  ", style="green") if fine else Text("  NO  ", style="bold red")
        self.console.print(mark, Text(what), soft_wrap=True)
