"""Drives Debian's Chromium over its DevTools pipe, so that tests see pages as a coder does."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of a browser that runs without a screen."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        (to_read, self._to), (self._from, to_write) = os.pipe(), os.pipe()
        # The browser reads commands from descriptor 3, and answers on 4.
        words = f'exec 3<&{to_read} 4>&{to_write}; exec "$@"'
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        self._process = subprocess.Popen(
            ["bash", "-c", words, "bash", CHROMIUM, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._from, 1 << 20)
                assert part, "the browser ended"
                self._rest += part
            answer, _, self._rest = self._rest.partition(b"\0")
            parsed = json.loads(answer)
            if parsed.get("id") == self._number:
                assert "error" not in parsed, parsed
                return dict(parsed["result"])

    def run(self, script: str) -> Any:
        """What a script says in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """What a script says once it says something true; a page may be on its way."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
            if value := answer["result"].get("value"):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says {self.run('document.body.innerText')[:600]}")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href !== 'about:blank' && {json.dumps(url)} && true")

    def size(self, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> None:
        png = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(png))
