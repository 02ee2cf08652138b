"""Pages in a real browser. They need Chromium, `pip install playwright` and `npm install --prefix tests/browser`."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

RUNTIME = Path(__file__).parent / "node_modules"
# Without a screen, a sandbox or a network.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
LONG = 120_000

CELLS = "[...document.querySelectorAll('output tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"

RUN = """async ([signature, inputs]) => {
  const details = model.compiled.signatures[signature].getInputDetails();
  const kinds = Object.fromEntries(details.map(({ name, dtype }) => [name, dtype === "int32" ? Int32Array : Float32Array]));
  const arrays = Object.entries(inputs).map(([name, values]) => [name, kinds[name].from(values)]);
  const outputs = await model.run(signature, Object.fromEntries(arrays));
  return Object.fromEntries(Object.entries(outputs).map(([name, values]) => [name, [...values]]));
}"""


class Page:
    """A page that is open."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def answer(self, **fields: str | Path) -> str:
        """What the page says when its form has been filled in and sent."""
        for name, value in fields.items():
            if isinstance(value, Path):
                self.page.set_input_files(f"[name={name}]", value)
            else:
                self.page.fill(f"[name={name}]", value)
        self.page.click("button")
        self.page.wait_for_function("document.querySelector('form').ariaBusy === 'false'", timeout=LONG)
        return str(self.page.evaluate("document.querySelector('output').textContent"))

    def rows(self, **fields: str | Path) -> list[tuple[str, float]]:
        """The table that it answers with."""
        self.answer(**fields)
        cells = self.page.evaluate(CELLS)
        return [(name, float(value)) for name, value, _ in cells]

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a signature of its model gives, flat."""
        given = {name: np.ravel(value).tolist() for name, value in inputs.items()}
        return {name: np.array(values) for name, values in self.page.evaluate(RUN, [signature, given]).items()}


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, started once for many pages."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no chromium on this machine; apt install chromium"
    assert RUNTIME.is_dir(), "the packages of a page are not there; npm install --prefix tests/browser"
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium: Any, folder: Path) -> Iterator[Page]:
    """The page of a folder, when its model has been loaded. No other address can be reached from it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    page = chromium.new_page()
    page.route(lambda url: not url.startswith((address, "blob:", "data:")), lambda route: route.abort())
    try:
        page.goto(address)
        page.wait_for_function("window.model || document.querySelector('output.error')", timeout=LONG)
        assert page.evaluate("Boolean(window.model)"), page.inner_text("output")
        yield Page(page)
    finally:
        page.close()
        server.shutdown()
        server.server_close()


def bare_page(folder: Path) -> None:
    """A page around `model.tflite`, which has nothing to be filled in."""
    from transformer_tf.export.web import PAGE, imports

    names = json.dumps({"imports": imports(RUNTIME)})
    start = 'import { Model } from "./model.js"; window.model = await Model.open();'
    (folder / "index.html").write_text(f'<script type="importmap">{names}</script><script type="module">{start}</script><output></output>')
    (folder / "model.json").write_text('{"tokenizer": false}')
    shutil.copy(PAGE / "model.js", folder)
    (folder / "node_modules").symlink_to(RUNTIME)
