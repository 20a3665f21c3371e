"""Debian's Chromium, driven by Playwright, for tests of pages on this machine; it speaks to nobody else.

A tab notes what a visitor would complain of: errors on the console, scripts that fail, requests that leave the host.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
LOST = "net::ERR_"
"""What Chromium writes on its console when a server is not there: expected where the test has taken it away."""


@dataclass
class Tab:
    """One page. ``errors``: of console and scripts; ``hosts``: whom it has asked for anything."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self) -> None:
        """Begin to note."""
        self.page.on("console", lambda said: self._said(said.type, said.text))
        self.page.on("pageerror", lambda error: self.errors.append(f"script: {error}"))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(f"{kind}: {text}")

    def until(self, expression: str, seconds: float = 60.0, **given: Any) -> Any:
        """Wait until a JavaScript expression is true; ``given`` are its variables."""
        names = ", ".join(given)
        function = f"({{{names}}}) => {{ return {expression}; }}"
        try:
            return self.page.wait_for_function(function, arg=given, timeout=1000 * seconds).json_value()
        except PlaywrightError as error:
            shown = " | ".join(self.page.inner_text("body").split("\n"))
            raise AssertionError(f"not within {seconds:g} s: {expression}; {self.errors}; {shown[:4000]}") from error


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, headless, with an empty profile."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def tab(browser: Browser, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Tab]:
    """Open a page in a profile of its own."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    try:
        found = Tab(context.new_page())
        found.watch()
        found.page.goto(url)
        yield found
    finally:
        context.close()


CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (!words || !element.checkVisibility() || element.closest(".sr, script, style, option, noscript")) continue;
    if (element.closest(":disabled")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${words.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
"""Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.2, success criterion 1.4.3)."""
