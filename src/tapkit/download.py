"""Fetching a file from the network so that an interrupted download goes on where it stopped.

What has come so far is `NAME.part`. Beside it, `NAME.part.json` notes which version of the file the server called it
(a strong ETag, or the date of the last change), so that the rest is only asked for if the file is still the same
(`If-Range`, RFC 9110 sections 13.1.5 and 14).
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

Report = Callable[[int, int | None], None]
"""Called with bytes so far and bytes in all (None if unknown)."""

TIMEOUT = 30.0
"""Seconds without a byte."""


class BrokeOff(OSError):
    """The connection ended before the file did; the next attempt goes on from there."""


def fetch(url: str, partial: Path, report: Report | None = None) -> None:
    """Complete `partial` from `url`, from where it stands if the server still has the same file.

    Raises `BrokeOff`, other `OSError`s (`URLError` among them), and leaves what has come in place.
    """
    have = partial.stat().st_size if partial.exists() else 0
    if have and _go_on(url, partial, have, report):
        return
    with _ask(url) as answer:
        _note(partial, url, answer.headers)
        _receive(answer, partial, 0, _length(answer), report)


def forget(partial: Path) -> None:
    """Remove what an interrupted download left, and what is noted of it."""
    partial.unlink(missing_ok=True)
    _notes(partial).unlink(missing_ok=True)


def _go_on(url: str, partial: Path, have: int, report: Report | None) -> bool:
    """Ask for what is missing; False if the file must be fetched from its beginning."""
    headers = {"Range": f"bytes={have}-"}
    if version := _version(partial, url):
        headers["If-Range"] = version
    try:
        answer = _ask(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        whole = _number(r"bytes \*/(\d+)", error.headers.get("Content-Range"))
        if report and whole == have:
            report(have, whole)
        return whole == have  # nothing is missing but the last step, or the file has changed
    with answer:
        if answer.status == HTTPStatus.OK:  # another version, or a server that sends whole files only
            _note(partial, url, answer.headers)
            _receive(answer, partial, 0, _length(answer), report)
            return True
        first = _number(r"bytes (\d+)-", answer.headers.get("Content-Range"))
        if first not in (None, have):
            return False
        length = _length(answer)
        _receive(answer, partial, have, None if length is None else have + length, report)
        return True


def _ask(url: str, headers: dict[str, str] | None = None) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=TIMEOUT)


def _receive(answer: Any, partial: Path, done: int, total: int | None, report: Report | None) -> None:
    with open(partial, "ab" if done else "wb") as file:
        while data := answer.read(1 << 20):
            file.write(data)
            done += len(data)
            if report:
                report(done, total)
    if total is not None and done != total:
        raise BrokeOff(f"broke off at {done} of {total} bytes")


def _length(answer: Any) -> int | None:
    return _number(r"(\d+)$", answer.headers.get("Content-Length"))


def _number(pattern: str, text: str | None) -> int | None:
    found = re.match(pattern, text or "")
    return int(found[1]) if found else None


def _notes(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _note(partial: Path, url: str, headers: Any) -> None:
    tag, date = headers.get("ETag"), headers.get("Last-Modified")
    version = tag if tag and not tag.startswith("W/") else date  # a weak tag does not promise equal bytes
    _notes(partial).write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")


def _version(partial: Path, url: str) -> str | None:
    """What the server called the file that `partial` is the beginning of; None if that is not known."""
    try:
        notes = json.loads(_notes(partial).read_text(encoding="utf-8"))
        return str(notes["version"]) if notes["url"] == url and notes["version"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
