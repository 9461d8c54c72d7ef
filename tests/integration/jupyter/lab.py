"""JupyterLab in a headless Chromium: its settings, its browser, and one notebook on the page as a person sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from conftest import BUILD, ROOT
from notebook_server import TOKEN, NotebookServer
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from targets import Target

DIRECT = ROOT / "docs/examples/jupyterlab-direct"
SHOTS = BUILD / "screenshots"
CHROMIUM = "/usr/bin/chromium"
SECONDS = 60
# The browser itself stays off the network; the pages talk to loopback only.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# No questions to the internet, and every cell of a notebook in the page.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "extensionmanager-extension/plugin": {"enabled": False},
    "completer-extension/manager": {"providerTimeout": 10000},
}


class Lab(NotebookServer):
    """`kind` says how its kernels come from the target."""

    def __init__(self, home: Path, kind: str, *args: str) -> None:
        self.kind = kind
        for name, values in SETTINGS.items():
            file = home / "settings" / f"@jupyterlab/{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        super().__init__(home, "lab", *args)

    def write(self, kernel: str, language: str, cells: list[str]) -> str:
        """A new notebook; returns its name."""
        nb = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": language}}
        )
        nb.cells = [nbformat.v4.new_code_cell(c) for c in cells]
        name = f"{uuid.uuid4().hex[:8]}.ipynb"
        nbformat.write(nb, self.notebooks / name)
        return name


@contextmanager
def gateway_lab(home: Path, target: Target) -> Iterator[Lab]:
    """JupyterLab whose server gets every kernel from the target."""
    lab = Lab(home, "gateway", f"--gateway-url={target.url}", f"--GatewayClient.auth_token={target.token}")
    try:
        yield lab
    finally:
        lab.stop()


@contextmanager
def direct_lab(home: Path, target: Target) -> Iterator[Lab]:
    """JupyterLab whose page talks to the target about kernels, and to its own server about files."""
    page_config = json.loads((DIRECT / "page_config.json").read_text())
    page_config |= {"cellboxUrl": target.url + "/", "cellboxToken": target.token}
    shutil.copytree(DIRECT, home / "labextensions" / "cellbox-direct")
    (home / "config" / "labconfig").mkdir(parents=True)
    (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(page_config))
    lab = Lab(home, "direct", f"--LabApp.extra_labextensions_path={home / 'labextensions'}")
    try:
        yield lab
    finally:
        lab.stop()


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, env={**os.environ, "HOME": str(profile)}
        )
        yield browser
        browser.close()


class Notebook:
    """One open notebook. Waits by locators only."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        page.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)

    def open(self, lab: Lab, name: str) -> None:
        self.page.goto(f"{lab.url}/lab/tree/{name}?token={TOKEN}&reset")
        self.idle()

    def idle(self) -> None:
        """Until the kernel is connected and idle."""
        expect(self.page.locator("#jp-bottom-panel").get_by_text("| Idle")).to_be_visible()
        expect(self.panel.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")

    def cell(self, index: int) -> Locator:
        return self.panel.locator(".jp-CodeCell").nth(index)

    def outputs(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea-output")

    def prompt(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-InputPrompt")

    def editor(self, index: int) -> Locator:
        return self.cell(index).locator(".cm-content")

    def start(self, index: int) -> None:
        """Runs a cell; does not wait for it."""
        self.editor(index).click()
        self.page.keyboard.press("Control+Enter")

    def run(self, index: int) -> Locator:
        """Runs a cell to its end."""
        self.start(index)
        self.finished(index)
        return self.outputs(index)

    def finished(self, index: int) -> None:
        expect(self.prompt(index)).to_have_text(re.compile(r"\[\d+\]"))
        self.idle()

    def running(self, index: int) -> None:
        expect(self.prompt(index)).to_have_text("[*]:")
        expect(self.panel.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "busy")

    def menu(self, menu: str, item: str) -> None:
        self.page.get_by_role("menubar").get_by_text(menu, exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{item}")).click()

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")
