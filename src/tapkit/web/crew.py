"""The process that tracks, seen from the server: started when it is wanted, and again if it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tapkit

Heard = Callable[[dict[str, Any]], None]


class Crew:
    """One `tapkit.web.worker`.

    Args:
        heard: called with each of its answers, in a thread of its own, one after the other: while it works nothing
            more is read, so that results never pile up. {"said": "ended", "code"} is said of a process that ended by
            itself.
    """

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def order(self, order: dict[str, Any]) -> None:
        """Send an order, to a process that is there or a fresh one."""
        line = json.dumps(order).encode() + b"\n"
        with self._lock:
            if self._closed:
                return
            process = self._running()
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it ended just now: its end is heard
                process.stdin.write(line)
                process.stdin.flush()

    def start(self) -> None:
        """Start it now: it says which trackers there are, and has its libraries loaded by the first order."""
        with self._lock:
            if not self._closed:
                self._running()

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        # The same package as this one, however it was found.
        found = os.pathsep.join([str(Path(tapkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tapkit.web.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": found.rstrip(os.pathsep)},
        )
        threading.Thread(target=self._listen, args=(self._process,), name="worker's answers", daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as answers:
            for line in answers:
                self._heard(json.loads(line))
        code = process.wait()
        if not self._closed:
            self._heard({"said": "ended", "code": code})
