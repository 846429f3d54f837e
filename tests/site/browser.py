"""Chromium for the tests: found, started, and watched.

Without it a test is skipped, with the reason; with COURSE_BROWSER=required in the
environment it fails. Fixtures, registered in conftest.py:

    browser     Playwright's browser, one a module
    open_page   open_page(viewport=..., color_scheme=..., ...) -> Watched
"""

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "apt-get install chromium fonts-noto-core, or name one in COURSE_CHROMIUM"
HERE = {"127.0.0.1", "localhost", "::1", None}  # None: data:, blob:, file:
# Nothing but this machine can be found, by the pages and by Chromium itself.
OFFLINE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


@dataclass
class Watched:
    """A page and what went wrong on it.

    errors: console errors and uncaught exceptions, as "text (url)".
    foreign: URLs on other machines that the page asked for, in vain.
    """

    page: object
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def listen(self):
        """Begin to record."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.context.on("request", lambda request: self._asked(request.url))
        self.page.on("websocket", lambda socket: self._asked(socket.url))

    def _said(self, message):
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location['url']})")

    def _asked(self, url):
        if urlsplit(url).hostname not in HERE:
            self.foreign.append(url)


def chromium(playwright) -> str:
    """Path of a Chromium: COURSE_CHROMIUM, one on PATH, Playwright's own, or "".

    A COURSE_CHROMIUM that does not exist is not replaced by another.
    """
    if named := os.environ.get("COURSE_CHROMIUM"):
        return shutil.which(named) or ""
    own = playwright.chromium.executable_path
    places = [*map(shutil.which, COMMANDS), own if os.path.exists(own) else None]
    return next(filter(None, places), "")


def missing(reason) -> None:
    """Skip the test, or fail it where a browser is required."""
    required = os.environ.get("COURSE_BROWSER") == "required"
    (pytest.fail if required else pytest.skip)(f"{reason}: {REMEDY}")


# One a module, not a session: while Playwright runs, its event loop counts as running
# in this thread, and `asyncio.run` in another module's test fails.
@pytest.fixture(scope="module")
def browser():
    """Playwright's browser, headless and offline."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        missing(f"no browser tests ({error})")
    with sync_playwright() as playwright:
        if not (path := chromium(playwright)):
            missing("no browser tests (no Chromium)")
        options = ["--disable-quic", f"--host-resolver-rules={OFFLINE}"]
        started = playwright.chromium.launch(executable_path=path, args=options)
        yield started
        started.close()


@contextmanager
def watch(browser):
    """Yield a function that opens a page, `Watched`, in a context of its own.

    Its options are those of Playwright's `new_context`.
    """
    contexts = []

    def open_page(**options) -> Watched:
        contexts.append(browser.new_context(**options))
        watched = Watched(contexts[-1].new_page())
        watched.listen()
        return watched

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(browser):
    """The function of `watch`; the pages are closed at the test's end."""
    with watch(browser) as open_one:
        yield open_one
