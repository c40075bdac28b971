"""Names of clips, models and sets that look like markup or code: in the reports, in folders, in TAP-Vid pickles."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapkit import storage
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.folder import FolderDataset, write_clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.datasets.tapvid import TapVidPickles, write_tapvid
from tapkit.evaluation.predict import PredictionFolder
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.report import html, markdown
from tapkit.evaluation.result import Result
from tapkit.evaluation.run import Contestant, evaluate
from tapkit.evaluation.write import write_all
from tapkit.types import ModelCard, Provenance, Tracks, VideoInfo

_SPEC = importlib.util.spec_from_file_location("hostile", Path(__file__).parents[1] / "hostile.py")
assert _SPEC is not None and _SPEC.loader is not None
hostile = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)
NAMES = [*hostile.NAMES, "\ud800"]
"""Clips may be called anything that a pickle holds."""
CARD = ModelCard("m", "M", "", "", "", "none", True, "tapkit.models.lucas_kanade.tracker:none", confidence_radius=8.0)


class Named(Dataset):
    """Clips with these names, two frames each; clips called in `broken` cannot be read."""

    resolution = "native"

    def __init__(self, names: list[str], name: str = "set", broken: tuple[str, ...] = ()) -> None:
        self.all, self.name, self.broken, self.citation = names, name, broken, name

    def names(self) -> list[str]:
        return self.all

    def clip(self, name: str) -> Clip:
        if name in self.broken:
            raise ValueError(f"{name} is broken")
        xy = np.full((1, 2, 2), 5.5, np.float32)
        video = np.zeros((2, 12, 16, 3), np.uint8)
        return Clip(name, xy, np.ones((1, 2), bool), (12, 16), lambda: ArrayFrames(video, VideoInfo(16, 12, frames=2)))


class Still:
    """A tracker that says that nothing moves."""

    weights_sha256 = ""
    card = CARD

    def track(self, video: Any, queries: Any, direction: str = "both") -> Tracks:
        xy = queries.xy[:, None].repeat(2, 1)
        every = np.full(xy.shape[:2], 0.9)
        return Tracks(xy, every, every, every > 0, queries, video.info, Provenance())


class Elements(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.attributes |= {name for name, _ in attributes}
        self.links += [str(value) for name, value in attributes if name in ("href", "src")]

    handle_startendtag = handle_starttag


def report(names: list[str], folder: Path, set_name: str = "set", broken: tuple[str, ...] = ()) -> Result:
    """All clips measured; the result with hostile facts about the model, too."""
    dataset = Named(names, set_name, broken)
    contestant = Contestant(CARD, make=Still)  # type: ignore[arg-type]
    result = evaluate(dataset, [contestant], Protocol(resolution="native"), folder)
    write_all(result, dataset, [contestant], Protocol(resolution="native"), folder)
    return result


def changed(result: Result, text: str) -> Result:
    """A result file that says `text` wherever it says something."""
    values = result.to_dict()
    values |= {"dataset": text, "citation": text, "query_mode": text, "command": text, "environment": {text: text}}
    values |= {"missing": {text: text}}
    for model in values["models"]:
        model |= {"id": text, "name": text, "protocol": text, "licence": text, "failed": {text: text}}
    return Result(
        models=tuple(type(result.models[0]).from_dict(m) for m in values["models"]),
        **{k: values[k] for k in ("dataset", "citation", "query_mode", "clips", "missing", "environment", "command")},
    )


def test_a_page_has_the_same_elements_whatever_the_clips_are_called(tmp_path: Path) -> None:
    plain = [f"clip{n}" for n in range(len(NAMES))]
    first, second = (report(names, tmp_path / str(n)) for n, names in enumerate((plain, NAMES)))
    ours, theirs = (Elements((tmp_path / str(n) / "report.html").read_text()) for n in (0, 1))
    assert ours.found == theirs.found and ours.attributes == theirs.attributes
    assert "script" not in theirs.found and not [name for name in theirs.attributes if name.startswith("on")]
    assert len(first.models[0].scores) == len(second.models[0].scores) == len(NAMES)
    assert sorted(s.clip for s in Result.load(tmp_path / "1").models[0].scores) == sorted(NAMES)


@pytest.mark.parametrize("text", [name for name in NAMES if name])
def test_what_a_result_says_is_text(text: str, tmp_path: Path) -> None:
    result = report(["a"], tmp_path / "r")
    plain, other = changed(result, "plain"), changed(result, text)
    ours, theirs = Elements(html(plain)), Elements(html(other))
    assert ours.found == theirs.found and ours.attributes == theirs.attributes
    storage.write_text(tmp_path / "page.html", html(other))
    renderer = pytest.importorskip("markdown")
    rendered = [
        Elements(renderer.markdown(markdown(each).encode("utf-8", "replace").decode(), extensions=["tables"]))
        for each in (plain, other)
    ]
    allowed = {"em", "strong", "code", "ul", "li", "p", "ol", "hr"}  # what Markdown makes of * _ and -
    assert set(rendered[1].found) <= set(rendered[0].found) | allowed
    assert rendered[0].found["tr"] == rendered[1].found["tr"] and rendered[0].found["td"] == rendered[1].found["td"]
    assert not [link for link in rendered[1].links if not link.startswith("http")]
    assert rendered[1].attributes <= {"style", "href"}


def test_a_clip_that_a_reader_chokes_on_is_reported_under_its_name(tmp_path: Path) -> None:
    result = report(NAMES[:6], tmp_path, broken=tuple(NAMES[:2]))
    assert set(result.models[0].failed) == set(NAMES[:2])
    assert Elements((tmp_path / "report.html").read_text()).found["script"] == 0


def test_answers_and_folders_of_clips_stay_where_they_belong(tmp_path: Path) -> None:
    store = PredictionFolder(tmp_path / "answers")
    files = {store.file(name) for name in NAMES}
    assert {file.parent for file in files} == {tmp_path / "answers"} and len(files) == len(NAMES)
    data, names = Named(NAMES), [storage.file_name(name) for name in NAMES]
    assert len({name.lower() for name in names}) == len(NAMES)
    for clip, name in zip(data, names, strict=True):
        assert write_clip(tmp_path / "clips" / name, clip).resolve().parent == (tmp_path / "clips").resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips"]
    assert len(FolderDataset(tmp_path / "clips")) == len(NAMES)


def test_pickles_keep_every_name_and_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tapvid(tmp_path / "a.pkl", Named(NAMES))
    assert list(TapVidPickles([tmp_path / "a.pkl"]).names()) == NAMES
    with open(tmp_path / "a.pkl", "rb") as file:
        assert list(pickle.load(file)) == NAMES
    assert not (tmp_path / hostile.MARK).exists()


def test_the_command_of_a_report_can_be_pasted() -> None:
    import shlex

    from tapkit.cli.eval import _command

    for text in hostile.NAMES:
        words = shlex.split(_command(text, ["m"], {"--mode": "first"}, [f"name={text}"]))
        assert words[:2] == ["tapkit", "eval"] and words[-2:] == ["--set", f"name={text}"]
    assert json.dumps(_command("davis", ["m"], {}, None)) == '"tapkit eval davis --model m"'
