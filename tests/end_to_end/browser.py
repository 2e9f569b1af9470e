"""A real Chromium, held to what every page promises: no error, nothing from elsewhere, readable."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as Timeout
from tests.end_to_end.serving import ROOT, Serving

from control_process import ControlProcess

CHROMIUM: Final = Path("/usr/bin/chromium")
IMAGES: Final = ROOT / "docs" / "images"
KEEP: Final = "POINTSMAN_SCREENSHOTS"
"""Set, screenshots of the tests become those of the documentation."""

_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_INSTALL_LIMIT_S: Final = 300
SLOW_S: Final = 120.0
"""For what a busy machine may take its time over."""


def chromium() -> str:
    """Where the browser is; installed from the system's packages where it is not there yet."""
    if CHROMIUM.exists():
        return str(CHROMIUM)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
        ):
            done = subprocess.run(command, check=False, timeout=_INSTALL_LIMIT_S, **quiet)  # type: ignore[call-overload] # the same for both
        assert CHROMIUM.exists(), f"chromium could not be installed:\n{done.stdout[-2000:]}"
        return str(CHROMIUM)
    raise AssertionError(f"{CHROMIUM} is missing: install chromium (Debian: apt install chromium)")


class Watched:
    """One page of the dashboard, and what went wrong on it."""

    def __init__(self, page: Page, url: str, token: str) -> None:
        self.page = page
        self._url = url
        self._token = token
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._asked)

    def open(self, path: str) -> None:
        """A page by its address, signed in."""
        where = f"{self._url}/ui/#token={self._token}&{path}"
        self.page.goto("about:blank")
        self.page.goto(where)

    @contextmanager
    def somebody_else(self, token: str) -> Iterator["Watched"]:
        """Another person's window, with a token of their own."""
        browser = self.page.context.browser
        assert browser is not None
        context = browser.new_context(bypass_csp=True)
        try:
            yield Watched(context.new_page(), self._url, token)
        finally:
            context.close()

    def sees(self, text: str | re.Pattern[str], limit_s: float = SLOW_S) -> None:
        """Waits until somebody who looks can read it."""
        wanted = self.page.get_by_text(text).locator("visible=true").first
        try:
            wanted.wait_for(timeout=limit_s * 1000)
        except Timeout:
            shown = self.page.locator("body").inner_text()
            raise AssertionError(f"{text} is not on the page:\n{shown[:4000]}") from None

    def keep(self, name: str, *, whole: bool = True) -> None:
        """A screenshot for the documentation, where that is asked for. whole: below the fold too"""
        if os.environ.get(KEEP):
            IMAGES.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=IMAGES / f"{name}.png", full_page=whole)

    def check(self) -> None:
        """Nothing serious for a screen reader, no error, no request that leaves the machine."""
        found = Axe().run(self.page).response["violations"]
        serious = [
            (one["id"], one["help"], [node["target"] for node in one["nodes"]][:3])
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]
        assert not serious, serious
        assert not self.wrong, self.wrong
        assert not self.elsewhere, self.elsewhere

    def _said(self, message: object) -> None:
        if getattr(message, "type", "") in {"error", "warning"}:
            self.wrong.append(getattr(message, "text", ""))

    def _asked(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        own = (self._url, "about:", "data:", "blob:")
        if not url.startswith(own):
            self.elsewhere.append(url)


@contextmanager
def browsing(
    serving: Serving | ControlProcess, *, dark: bool = False, width: int = 1300
) -> Iterator[Watched]:
    """A fresh window."""
    url = serving.url if isinstance(serving, ControlProcess) else serving.running.admin_url
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            bypass_csp=True,  # axe is put into the page; the policy has a test of its own
        )
        try:
            yield Watched(context.new_page(), url, serving.token)
        finally:
            browser.close()
