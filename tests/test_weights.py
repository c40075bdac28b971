"""Checkpoints: found, fetched, checked, and read without running anything in them."""

from __future__ import annotations

import http.server
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tapkit import weights
from tapkit.errors import WeightsError
from tapkit.types import BackboneFile, ModelCard

CARD = ModelCard(
    id="made",
    name="",
    paper="",
    paper_url="",
    code_licence="",
    weights_licence="",
    commercial=True,
    factory="",
    weights_file="made.pth",
)
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAPKIT_WEIGHTS", raising=False)
    return tmp_path / "cache"


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves one file, in parts if asked; `breaks` makes the first answer end early."""

    content = b""
    breaks = False
    ranges: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Server.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(Server.content) - first))
        self.end_headers()
        part = Server.content[first:]
        if Server.breaks:
            Server.breaks = False
            part = part[: len(part) // 2]
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    torch.save(STATE, tmp_path / "published.pth")
    Server.content, Server.breaks, Server.ranges = (tmp_path / "published.pth").read_bytes(), False, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/made.pth"
    server.shutdown()


def same(state: weights.StateDict) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


def test_a_download_is_kept_and_its_hash_checked_ever_after(url: str, cache: Path) -> None:
    card = replace(CARD, weights_url=url)
    seen = []
    path = weights.obtain(card, lambda done, total: seen.append((done, total)))
    assert path.parent == cache / "weights" and same(weights.read(path))
    assert seen[-1] == (len(Server.content), len(Server.content))
    assert weights.obtain(card) == path and len(Server.ranges) == 1
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="damaged"):
        weights.obtain(card)


def test_who_asks_at_the_same_time_waits_for_one_download(url: str) -> None:
    card = replace(CARD, weights_url=url)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: weights.obtain(card), range(4)))
    assert len(set(found)) == 1 and len(Server.ranges) == 1 and same(weights.read(found[0]))


def test_a_download_that_broke_off_is_resumed(url: str) -> None:
    Server.breaks = True
    card = replace(CARD, weights_url=url)
    with pytest.raises(WeightsError, match=r"broke off|could not be downloaded"):
        weights.obtain(card)
    assert same(weights.read(weights.obtain(card)))
    assert Server.ranges[-1] == f"bytes={len(Server.content) // 2}-"


def test_a_file_that_is_not_the_published_one_is_refused(url: str, cache: Path) -> None:
    card = replace(CARD, weights_url=url, weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match="not the published file"):
        weights.obtain(card)
    assert [path.suffix for path in (cache / "weights").iterdir()] == []


def test_without_a_network_one_sentence_says_what_to_do(cache: Path) -> None:
    card = replace(CARD, weights_url="http://127.0.0.1:9/made.pth")
    with pytest.raises(
        WeightsError, match=r"fetch made\.pth from http://127\.0\.0\.1:9/made\.pth and put it into"
    ) as told:
        weights.obtain(card)
    assert str(cache) in str(told.value)
    other = replace(CARD, weights_url="http://127.0.0.1:9/model-2000.pth")
    with pytest.raises(WeightsError, match=r"fetch http://127\.0\.0\.1:9/model-2000\.pth and put it as made\.pth into"):
        weights.obtain(other)
    with pytest.raises(WeightsError, match="cannot be downloaded by a program"):
        weights.obtain(CARD)


@pytest.mark.parametrize("wrong", [3, [1], b"made.pth", {"x": 1}, {"x": np.zeros(1)}])
def test_what_is_no_weights_is_one_sentence(wrong: object) -> None:
    with pytest.raises(WeightsError, match="state dict"):
        weights.given_or_official(CARD, wrong)  # type: ignore[arg-type]


def test_the_offline_folder_comes_first_and_safetensors_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    save_file(STATE, tmp_path / "made.safetensors")
    assert weights.find(CARD) == tmp_path / "made.safetensors"
    torch.save(STATE, tmp_path / "made.pth")
    assert weights.find(CARD) == tmp_path / "made.pth"
    assert same(weights.read(tmp_path / "made.safetensors")) and same(weights.read(tmp_path / "made.pth"))


def test_averaged_weights_are_preferred_to_those_of_the_last_step() -> None:
    """TAPTR's files hold both, "model" and "ema_model"; the authors evaluate the average."""
    last = {name: tensor + 1 for name, tensor in STATE.items()}
    found = weights.unwrap({"model": last, "ema_model": STATE, "epoch": 3})
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "ema", "ema_model"])
def test_the_containers_of_training_scripts_are_removed(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: STATE, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "a.pth")
    assert same(weights.read(tmp_path / "a.pth"))


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Hostile()}))
    torch.save({"a": Hostile()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            weights.read(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_arrays_of_jax_projects_are_read_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"a.weight": STATE["a.weight"].numpy(), "b": STATE["b"].numpy()})
    assert same(weights.read(tmp_path / "a.npz"))


def test_empty_and_missing_files_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name, message in (("empty.pth", "cannot be read"), ("none.pth", "holds no tensors"), ("no.pth", "there is no")):
        with pytest.raises(WeightsError, match=message):
            weights.read(tmp_path / name)


def test_matching_is_strict_both_ways_and_says_what_differs() -> None:
    assert same(weights.match(STATE, {"a.weight": (2, 3), "b": torch.zeros(1)}, "m"))
    with pytest.raises(WeightsError, match=r"lacks c.*has besides b"):
        weights.match(STATE, {"a.weight": (2, 3), "c": (1,)}, "m")
    with pytest.raises(WeightsError, match=r"b is \[1\] instead of \[2\]"):
        weights.match(STATE, {"a.weight": (2, 3), "b": (2,)}, "m")


def test_the_hash_of_tensors_knows_names_values_and_shapes() -> None:
    hashes = {
        weights.sha256_of(s)
        for s in (STATE, {**STATE, "b": torch.zeros(1)}, {"a": STATE["b"]}, {**STATE, "b": torch.ones(1, 1)})
    }
    assert len(hashes) == 4 and weights.sha256_of(dict(reversed(STATE.items()))) == weights.sha256_of(STATE)


def test_built_in_weights_of_a_package_that_is_not_there_are_one_sentence() -> None:
    from dataclasses import replace

    from tapkit import registry

    card = replace(registry.card("strand"), factory="no_such_package.tracker:build", weights_built_in=True)
    with pytest.raises(WeightsError, match="'no_such_package', which is not installed"):
        weights.find(card)


def test_a_backbone_of_others_is_added_or_asked_for_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = BackboneFile("Their ViT", "vit.", "vit.safetensors", "model.safetensors of them", "Their License")
    card = replace(CARD, backbone=part)
    torch.save(STATE, tmp_path / "made.pth")
    sentence = (
        r"of made do not contain its backbone, Their ViT: fetch model\.safetensors of them \(Their License\), and"
    )
    for given in (tmp_path / "made.pth", STATE):
        with pytest.raises(WeightsError, match=sentence):
            weights.given_or_official(card, given)
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    save_file({"c": torch.ones(2)}, tmp_path / part.file)
    state, path = weights.given_or_official(card, tmp_path / "made.pth")
    assert state is not None and state.keys() == {*STATE, "vit.c"}
    assert path is None, "the hash of one file would not tell which backbone was used"
    complete = {**STATE, "vit.c": torch.zeros(2)}
    state, _ = weights.given_or_official(card, complete)
    assert state is not None and not state["vit.c"].any()
    assert weights.given_or_official(CARD, tmp_path / "made.pth")[1] == tmp_path / "made.pth"
