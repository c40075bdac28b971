"""Downloads that go on where they stopped, from a server that does what RFC 9110 says."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tapkit import download, registry, weights
from tapkit.errors import WeightsError

CONTENT = bytes(range(256)) * 40
OTHER = bytes(reversed(range(256))) * 40


@dataclass
class Site:
    """One file, and how its server behaves."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    breaks_after: int | None = None
    """Bytes of the next answer's body."""
    shifted: int = 0
    """Bytes by which the server misses the range that was asked for."""
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    """(Range, If-Range) of every request."""
    answers: list[int] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            made.asked.append((asked, condition))
            same = condition is None or condition in (made.etag, made.date)
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and made.ranges and same else None
            if first is not None and first >= len(made.content):
                self.answer(416, {"Content-Range": f"bytes */{len(made.content)}"}, b"")
            elif first is not None:
                first += made.shifted
                last = len(made.content) - 1
                head = {"Content-Range": f"bytes {first}-{last}/{last + 1}"}
                self.answer(206, head, made.content[first:])
            else:
                self.answer(200, {}, made.content)

        def answer(self, status: int, head: dict[str, str], body: bytes) -> None:
            made.answers.append(status)
            self.send_response(status)
            versions = {"ETag": made.etag, "Last-Modified": made.date}
            for name, value in {**head, **versions, "Content-Length": str(len(body))}.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: made.breaks_after])
            made.breaks_after = None

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}/made.pth"
    yield made
    server.shutdown()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "made.pth.part"


def interrupt(site: Site, part: Path, after: int = 3000) -> None:
    """A download that breaks off."""
    site.breaks_after = after
    with pytest.raises(download.BrokeOff, match=f"broke off at {after} of {len(site.content)} bytes"):
        download.fetch(site.url, part)
    assert part.stat().st_size == after


def test_the_rest_is_asked_for_if_the_file_is_still_the_same(site: Site, part: Path) -> None:
    interrupt(site, part)
    seen: list[tuple[int, int | None]] = []
    download.fetch(site.url, part, lambda done, total: seen.append((done, total)))
    assert part.read_bytes() == CONTENT
    assert site.asked[-1] == ("bytes=3000-", '"one"') and site.answers == [200, 206]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_file_that_has_changed_is_fetched_from_its_beginning(site: Site, part: Path) -> None:
    interrupt(site, part)
    site.content, site.etag = OTHER, '"two"'
    download.fetch(site.url, part)
    assert part.read_bytes() == OTHER and site.answers == [200, 200]
    assert site.asked[-1] == ("bytes=3000-", '"one"')


def test_a_complete_part_is_complete(site: Site, part: Path) -> None:
    """The process ended between the last byte and the renaming."""
    part.write_bytes(CONTENT)
    download.fetch(site.url, part)
    assert part.read_bytes() == CONTENT and site.answers == [416]


def test_a_part_longer_than_the_file_is_fetched_anew(site: Site, part: Path) -> None:
    part.write_bytes(CONTENT + b"more")
    download.fetch(site.url, part)
    assert part.read_bytes() == CONTENT and site.answers == [416, 200]


def test_a_complete_part_of_a_file_that_has_changed_is_fetched_anew(site: Site, part: Path) -> None:
    download.fetch(site.url, part)
    site.content, site.etag = OTHER, '"two"'
    download.fetch(site.url, part)
    assert part.read_bytes() == OTHER and site.answers == [200, 200]


def test_the_date_serves_where_the_tag_is_weak(site: Site, part: Path) -> None:
    site.etag, site.date = 'W/"one"', "Wed, 21 Oct 2015 07:28:00 GMT"
    interrupt(site, part)
    download.fetch(site.url, part)
    assert part.read_bytes() == CONTENT and site.asked[-1] == ("bytes=3000-", site.date)


def test_a_server_that_sends_whole_files_only_is_taken_at_that(site: Site, part: Path) -> None:
    site.ranges = False
    interrupt(site, part)
    download.fetch(site.url, part)
    assert part.read_bytes() == CONTENT and site.answers == [200, 200]


def test_another_range_than_the_one_asked_for_is_not_appended(site: Site, part: Path) -> None:
    interrupt(site, part)
    site.shifted = 5
    download.fetch(site.url, part)
    assert part.read_bytes() == CONTENT and site.answers == [200, 206, 200]


def test_a_part_of_another_address_is_not_trusted_by_its_tag(site: Site, part: Path) -> None:
    interrupt(site, part)
    download.fetch(site.url + "?other", part)
    assert site.asked[-1] == ("bytes=3000-", None)  # the hash of the whole file has the last word then


# -- and through the cards ------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TAPKIT_WEIGHTS", raising=False)
    return tmp_path / "cache" / "weights"


def card_of(site: Site, content: bytes = CONTENT):  # type: ignore[no-untyped-def]
    md5 = {"made.pth": hashlib.md5(content).hexdigest()}
    return replace(registry.card("pips"), weights_url=site.url, weights_file="made.pth", weights_md5=md5)


def test_a_complete_part_becomes_the_weights(site: Site, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "made.pth.part").write_bytes(CONTENT)
    assert weights.obtain(card_of(site)).read_bytes() == CONTENT
    assert sorted(p.name for p in cache.iterdir()) == ["index.json", "made.pth"]


def test_a_download_is_compared_with_the_md5_on_the_card(site: Site, cache: Path) -> None:
    assert weights.obtain(card_of(site)).read_bytes() == CONTENT
    (cache / "made.pth").unlink()
    with pytest.raises(WeightsError, match="not the published file \\(MD5 "):
        weights.obtain(card_of(site, OTHER))
    assert [p.name for p in cache.iterdir()] == ["index.json"]


def test_a_file_put_there_by_hand_is_compared_too(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    (tmp_path / "made.pth").write_bytes(OTHER)
    site = Site()
    with pytest.raises(WeightsError, match=r"is not the published file \(MD5 .* give it as weights of your own"):
        weights.obtain(card_of(site))
    assert weights.obtain(card_of(site, OTHER)) == tmp_path / "made.pth"


KNOWN = {
    ("pips", "pips.pth"): "9f34c4cd5d6f54cb11e1911841ac702c",
    ("pips2", "pips2.pth"): "e599fd3ba978d67c4cf35f225be3c2af",
    ("tapir-causal", "causal_tapir_checkpoint.npy"): "763a9dbdf9e077397215aaddc6c6f048",
    ("tapir", "tapir_checkpoint_panning.npy"): "73e86cdcfef0e8afea6a060f44be5fc7",
    ("tapnet", "checkpoint.npy"): "b8a1ad6eab94ce53be3ce870ed829552",
}


def test_the_known_sums_of_published_files_are_on_their_cards(cache: Path) -> None:
    for (model, name), md5 in KNOWN.items():
        assert registry.card(model).weights_md5[name] == md5
        assert registry.card(model).to_dict()["weights_md5"][name] == md5
    assert all(len(md5) == 32 for card in registry.cards().values() for md5 in card.weights_md5.values())
    others = {name: card.weights_md5 for name, card in registry.cards().items() if card.weights_md5}
    assert others.keys() == {model for model, _ in KNOWN}


def test_the_panning_weights_are_found_in_their_jax_form_too(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "tapir_checkpoint_panning.npy").write_bytes(b"x")
    assert weights.find(registry.card("tapir")) == cache / "tapir_checkpoint_panning.npy"
    with pytest.raises(WeightsError, match="not the published file"):
        weights.obtain(registry.card("tapir"))


def test_no_card_contradicts_itself_about_commercial_use() -> None:
    for card in registry.cards().values():
        unclear = any(words in card.weights_licence for words in ("not stated", "see the authors", "none stated", "NC"))
        assert not (card.commercial and unclear), card.id
