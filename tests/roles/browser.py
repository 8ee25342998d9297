"""A browser without a window, which opens pages of this machine and tells what it sees there.

The pages run in a frame. The page around it goes through the steps of a test, and a picture that does not come keeps
the browser waiting until they are done: nothing depends on how long anything takes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen, mutable

from tests.support import require_or_skip

__all__ = ["Seen", "Site", "browse", "serve"]

_CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
]  # fmt: skip

_DRIVER = """<!DOCTYPE html><meta charset="utf-8"><title>driver</title>
<style>html, body { margin: 0; height: 100% } iframe { border: 0; width: 100%; height: 100%; display: block }</style>
<iframe></iframe><script>
const frame = document.querySelector("iframe");
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const main = () => frame.contentDocument?.getElementById("main");
async function ready() {
  while (main()?.dataset.state !== "ready" && !frame.contentWindow.spied?.some((each) => each.startsWith("error"))) {
    await pause(20);
  }
}
const steps = {
  async open(path) {
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
    frame.src = path.replace("#", `?${Math.random()}#`);
    await loaded;
    await ready();
  },
  async hash(hash) {
    const inside = frame.contentWindow;
    const changed = new Promise((resolve) => inside.addEventListener("hashchange", resolve, { once: true }));
    inside.location.hash = hash;
    await changed;
    await ready();
  },
  async click(text) {
    [...frame.contentDocument.querySelectorAll("button")].find((each) => each.textContent === text).click();
  },
  async begin(hash) { frame.contentWindow.location.hash = hash; },
  async ready() { await ready(); },
  async type(text) { frame.contentDocument.querySelector("input").value = text; },
  async width(pixels) { frame.style.width = `${pixels}px`; },
  async until(text) { while (!main().innerText.includes(text)) await pause(5); },
  async scroll(selector) { frame.contentDocument.querySelector(selector).scrollIntoView(); },
  async act(name) { await fetch(`/act/${name}`, { method: "POST" }); },
};
(async () => {
  const seen = [];
  try {
    for (const [name, argument] of await (await fetch("/steps")).json()) {
      if (name !== "look") { await steps[name](argument); continue; }
      const inside = frame.contentWindow;
      seen.push({
        text: main().innerText, html: main().outerHTML, title: frame.contentDocument.title,
        verdict: main().dataset.verdict ?? "", ran: "ran" in inside || "ran" in window, spied: inside.spied ?? [],
        focus: frame.contentDocument.activeElement?.id ?? "",
        wide: frame.contentDocument.documentElement.scrollWidth - frame.contentDocument.documentElement.clientWidth,
      });
    }
  } catch (error) {
    seen.push({ failed: String(error) });
  }
  await fetch("/told", { method: "POST", body: JSON.stringify(seen) });
})();
</script><img src="/wait" alt="" hidden>"""

_SPY = b"""window.spied = [];
addEventListener("error", (event) => spied.push(`error ${event.message}`));
addEventListener("unhandledrejection", (event) => spied.push(`error ${event.reason?.stack ?? event.reason}`));
addEventListener("securitypolicyviolation", (event) => spied.push(`policy ${event.violatedDirective}`));
"""


@frozen
class Seen:
    """What a page looked like."""

    text: str
    html: str
    title: str
    verdict: str
    ran: bool
    """Whether something that the log holds ran as a program."""

    spied: list[str]
    """Errors of the page, and what its policy forbade."""

    wide: int
    """Pixels by which it is wider than its window."""

    focus: str
    """What has the focus, by its ID."""


@mutable
class Site:
    """A server of files on this machine."""

    folder: Path
    url: str = ""
    spies: bool = True
    """Whether something in the pages looks for their errors."""

    scripts: Mapping[str, str] = field(factory=dict)
    """Programs that run in pages before their own, by the paths of the pages."""

    held: dict[str, threading.Event] = field(factory=dict)
    """Paths that are answered only after something has happened."""

    asked: list[str] = field(factory=list)
    acts: dict[str, Callable[[], None]] = field(factory=dict)
    steps: Sequence[tuple[str, str]] = ()
    told: list[dict[str, Any]] = field(factory=list)
    done: threading.Event = field(factory=threading.Event)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, site: Site) -> None:
        self.site = site
        super().__init__(*args, directory=str(site.folder))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.site.asked.append(path)
        if path == "/drive":
            self._answer("text/html", _DRIVER.encode())
        elif path == "/steps":
            self._answer("application/json", json.dumps(self.site.steps).encode())
        elif path == "/wait":
            self.site.done.wait(90)
            self._answer("image/png", b"")
        elif path == "/spy.js":
            self._answer("text/javascript", _SPY + self.site.scripts.get(urlsplit(self.path).query, "").encode())
        elif path in self.site.held:
            self.site.held[path].wait(90)
            super().do_GET()
        elif path.endswith("/") and self.site.spies:
            text = (self.site.folder / path[1:] / "index.html").read_text(encoding="utf-8")
            spy = f'<script src="/spy.js?{path}"></script><script'
            self._answer("text/html", text.replace("<script", spy, 1).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/told":
            self.site.told = json.loads(body)
            self.site.done.set()
        else:
            self.site.acts[self.path.removeprefix("/act/")]()
        self._answer("text/plain", b"")

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        return


@contextmanager
def serve(folder: Path) -> Iterator[Site]:
    """Serve a folder at 127.0.0.1 while the block runs."""
    site = Site(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, site=site))
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def browse(
    site: Site, profile: Path, *steps: tuple[str, str], picture: Path | None = None, options: Sequence[str] = ()
) -> list[Seen]:
    """Let the browser take these steps, and return what it saw at each `look`."""
    chromium = shutil.which("chromium")
    if chromium is None:
        require_or_skip("chromium is not installed")
    site.steps, site.told = steps, []
    site.done.clear()
    what = "--dump-dom" if picture is None else f"--screenshot={picture}"
    command = [str(chromium), *_CHROMIUM, *options, f"--user-data-dir={profile}", what, f"{site.url}/drive"]
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert site.done.is_set(), finished.stderr[-2000:]
    assert [each for each in site.told if "failed" in each] == []
    return [Seen(**each) for each in site.told]
