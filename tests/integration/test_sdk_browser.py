"""The JavaScript client in a browser, from a page of another origin: fetch, streams, WebSocket, abort."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from test_sdk_js import installed_package as installed_package

pytestmark = pytest.mark.release

PROGRAM = """
async ([url, token, name]) => {
  const { getSandbox, SandboxAddon, FileNotFoundError } = await import("/dist/index.js");
  const sandbox = getSandbox(name, { url, token });
  const seen = {};
  seen.exec = (await sandbox.exec("echo from a page; exit 3")).toJSON();
  seen.text = (await sandbox.runCode("x = 20\\nx + 1")).text;
  await sandbox.writeFile("f", new Blob(["blob"]));
  seen.file = (await sandbox.readFile("f")).content;
  seen.missing = await sandbox.readFile("none").catch((error) => error instanceof FileNotFoundError && error.code);
  const watcher = await sandbox.watch();
  await sandbox.exec("touch new");
  for await (const event of watcher) if (event.path === "/workspace/new") { seen.change = event.type; break; }
  const controller = new AbortController();
  const options = { signal: controller.signal, onOutput: () => controller.abort() };
  seen.abort = await sandbox.exec("echo up; sleep 4711", options).catch((error) => error.name);
  const terminal = await sandbox.terminal();
  const on = () => ({ dispose() {} });
  const write = (data) => { xterm.text += new TextDecoder().decode(data); };
  const xterm = { cols: 91, rows: 20, text: "", write, onData: on, onBinary: on, onResize: on };
  const addon = new SandboxAddon(terminal);
  addon.activate(xterm);
  await addon.connection.ready;
  addon.connection.write("stty size; exit 5\\n");
  seen.exit = (await addon.connection.exited).code;
  seen.size = xterm.text.includes("20 91");
  return seen;
}
"""


@pytest.fixture
def page_url(installed_package: Path) -> Iterator[str]:
    """An origin of its own that serves the package."""
    package = installed_package / "node_modules" / "cellbox"
    (package / "index.html").write_text("<!doctype html><title>client</title>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(package))) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}/"
        site.shutdown()


def test_in_a_page(server: Any, box: str, page_url: str, tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"], env={**os.environ, "HOME": str(tmp_path)}
        )
        page = browser.new_page()
        page.goto(page_url)
        seen = page.evaluate(PROGRAM, [server.url, server.token, box])
        browser.close()
    assert (seen["exec"]["stdout"], seen["exec"]["exitCode"]) == ("from a page\n", 3)
    assert (seen["text"], seen["file"], seen["missing"], seen["change"]) == ("21", "blob", "FILE_NOT_FOUND", "create")
    assert (seen["abort"], seen["exit"], seen["size"]) == ("AbortError", 5, True)
