"""Headless Chromium over its debugging pipe: no driver, no network port, nothing to install.

Speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) as JSON ended by
NUL over file descriptors 3 and 4. Everything that a page asks for, logs or throws is kept.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FOUND = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(
    FOUND is None, reason="needs Chromium: apt-get install chromium"
)
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40, "ArrowUp": 38}
SECONDS = 60


class Browser:
    """One tab. `requests` are the addresses asked for, `problems` what was logged or thrown."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._buffer = read, write, b""
        self._number = 0
        self.session = ""
        self.requests: list[str] = []
        self.problems: list[str] = []

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != number:
            self._event(found)
        assert "error" not in found, (method, found["error"])
        return dict(found["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(line))

    def _event(self, event: dict[str, Any]) -> None:
        name, params = event.get("method"), event.get("params", {})
        if name == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif name == "Runtime.consoleAPICalled":
            self.problems.append(json.dumps(params["args"]))
        elif name == "Log.entryAdded":
            self.problems.append(params["entry"]["text"])
        elif name == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {params['message']}")
            raise AssertionError(f"the page opened a dialog: {params['message']}")

    def open(self, path: Path) -> float:
        """Open a file, as a double click does; seconds until it is loaded and drawn."""
        self.requests.clear()
        self.problems.clear()
        began = time.monotonic()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.run(
            "new Promise(done => { const drawn = () => requestAnimationFrame(() =>"
            " setTimeout(done)); document.readyState === 'complete' ? drawn()"
            " : addEventListener('load', drawn) })"
        )
        return time.monotonic() - began

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; promises are waited for."""
        found = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after another: names of `KEYS`, "Shift+Tab", or single characters."""
        for key in keys:
            shift = key.startswith("Shift+")
            name = key.removeprefix("Shift+")
            text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
            code = KEYS.get(name, ord(name.upper()[0]))
            common = {"key": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def looks(self, width: int, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """A window of this size, in a light or dark system, on "screen" or in "print"."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[feature])

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot as PNG, of the whole page or of the window."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(found["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        box = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return {"clip": box}

    def print(self, path: Path) -> None:
        """The page as printed, as PDF on A4."""
        found = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, which goes with it; its network is cut off."""
    assert FOUND is not None
    ours, theirs = os.pipe(), os.pipe()

    def pipes() -> None:
        # 3 and 4 may be ends of the pipes themselves: both are moved away first.
        read, write = os.dup(ours[0]), os.dup(theirs[1])
        read, write = _above(read), _above(write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [FOUND, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += ["--remote-debugging-pipe", f"--user-data-dir={profile}"]
        command += [
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        command += ["--host-resolver-rules=MAP * ~NOTFOUND", "about:blank"]
        process = subprocess.Popen(
            command,
            preexec_fn=pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        browser = Browser(theirs[0], ours[1])
        try:
            yield _attached(browser)
        finally:
            process.kill()
            process.wait(SECONDS)
            os.close(theirs[0])
            os.close(ours[1])


def _above(handle: int) -> int:
    return handle if handle > 4 else _above(os.dup(handle))


def _attached(browser: Browser) -> Browser:
    targets = browser.ask("Target.getTargets")["targetInfos"]
    page = next(target for target in targets if target["type"] == "page")
    found = browser.ask("Target.attachToTarget", targetId=page["targetId"], flatten=True)
    browser.session = found["sessionId"]
    for domain in ("Page", "Network", "Runtime", "Log"):
        browser.ask(f"{domain}.enable")
    return browser
