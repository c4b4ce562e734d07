"""The status page as people see it, in a real Chromium, which also tells its complaints and what keeps it busy."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from tests.integration.support.waiting import eventually

DESKTOP = (1280, 800)
PHONE = (390, 844)

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# What runs in every page before its own script.
_WATCH = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) =>
        violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    window.longTasks = [];
    new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration)))
        .observe({type: 'longtask', buffered: true});
"""


class StatusPage:
    """The page at `/` of one dynsrv, in a tab of its own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.filter = page.get_by_label("Filter")
        self.dialog = page.get_by_role("dialog")
        self._said: list[str] = []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self._said.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._said.append(message.text)

    async def complaints(self) -> list[str]:
        """Return errors and warnings of the console, exceptions, and what the policy of the page forbade."""
        return [*self._said, *(await self.page.evaluate("violations"))]

    async def findings(self) -> list[str]:
        """Return the sentences of the summary, each with its level before it."""
        found = await self.page.locator("#findings > li, #notes > li").all_inner_texts()
        return [" ".join(text.split()) for text in found]

    async def verdict(self) -> str:
        """Return the first line of the summary."""
        return await self.page.locator("#verdict").inner_text()

    async def tells(self, sentence: str, *, within: float = 30.0) -> None:
        """Wait until *sentence* is one of the summary's, whole and with its level."""

        async def told() -> bool:
            found = await self.findings()
            assert sentence in found, found
            return True

        await eventually(told, within=within)

    async def servers(self) -> dict[str, list[str]]:
        """Return the cells of all servers that are shown, by the server's name; by its address, if it has none yet."""
        rows: list[list[str]] = await self.page.evaluate(
            "[...document.querySelectorAll('.servers tbody tr')].map((tr) => [...tr.cells].map((td) => td.textContent))"
        )
        return {(row[1] if row[0] == "none yet" else row[0]): [cell.strip() for cell in row] for row in rows}

    async def why(self, server: str) -> str:
        """Return the last words on a server that is shown; none if it is not."""
        return (await self.servers()).get(server, [""] * 10)[8]

    def row(self, server: str) -> Locator:
        """Return the row of a server."""
        return self.page.locator(".servers tbody tr").filter(
            has=self.page.get_by_role("rowheader", name=server, exact=True)
        )

    async def answer(self, text: str, *, token: str = "") -> None:
        """Send what the dialog asks for, with *token* if it wants one, and wait until the answer has *text*."""
        if token:
            await self.dialog.get_by_label("Token").fill(token)
        await self.dialog.locator("#submit").click()
        await self.dialog.get_by_text(text).wait_for()

    async def longest_task(self) -> float:
        """Return for how many milliseconds the page could not react at most; less than 50 count as 0."""
        return float(max(await self.page.evaluate("longTasks"), default=0.0))

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        root = "document.documentElement"
        return int(await self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))

    async def barriers(self) -> list[str]:
        """Return what axe-core finds that stands in the way of people with disabilities, and where."""
        axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        await self.page.evaluate(axe)
        found = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [f"{one['id']} {json.dumps([node['html'] for node in one['nodes'][:3]])}" for one in found["violations"]]


class Chromium:
    """One browser without a window, and without anything that it kept."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    async def open(self, port: int, *, size: tuple[int, int] = DESKTOP, dark: bool = False) -> StatusPage:
        """Open the status page on *port*, in UTC, and wait until it shows something."""
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            timezone_id="UTC",
        )
        await context.add_init_script(_WATCH)
        shown = StatusPage(await context.new_page())
        # A page that cannot be had leaves Chromium's own behind, which may come after the next attempt.
        await eventually(lambda: _listens(port), what=f"somebody listens on {port}")
        await shown.page.goto(f"http://127.0.0.1:{port}/")
        await shown.page.locator("#about:not(:empty)").wait_for()
        return shown


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start Debian's Chromium; `make browser` installs it."""
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium on this machine: run `make browser`"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield Chromium(browser)
        finally:
            await browser.close()
