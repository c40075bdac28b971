"""Which videos are meant, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapkit.errors import UsageError, VideoError
from tapkit.fleet import Videos


def names(*given: object, shard: str = "1/1") -> list[str]:
    return [item.name for item in Videos([str(each) for each in given], shard)]


def test_a_folder_is_all_videos_in_and_below_it(videos: Path) -> None:
    assert names(videos) == ["broken", "clip000", "clip001", "clip002", "monday/clip000"]
    (item,) = Videos([videos / "monday"])
    assert item == ("clip000", str(videos / "monday" / "clip000.mp4"))


def test_patterns_and_lists(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(names(videos / "**" / "clip000.mp4")) == ["clip000", "monday/clip000"]
    (tmp_path / "list.txt").write_text(
        f"# the takes\n{videos}/clip001.mp4\n\n{videos}/monday/clip000.mp4\n", encoding="utf-8"
    )
    assert names(tmp_path / "list.txt") == ["clip001", "monday/clip000"]
    monkeypatch.chdir(videos.parent)
    assert [item.source for item in Videos(["takes/clip001.mp4"])] == [str(videos / "clip001.mp4")]
    (tmp_path / "away.txt").write_text("s3://bucket/a/one.mp4\ns3://bucket/b/one.mp4\n")
    assert names(tmp_path / "away.txt") == ["a/one", "b/one"]


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    for name in ("shots/a.v01/0001.png", "shots/a.v01/0002.png", "shots/b/0001.exr", "shots/c/c.mp4", "shots/c/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path / "shots") == ["a.v01", "b", "c/c"]
    assert list(Videos([tmp_path / "shots" / "b"])) == [("b", str(tmp_path / "shots" / "b"))]


def test_what_is_drawn_over_a_video_is_none_of_the_footage(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.overlay.mp4", "b.overlay.mp4"):
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a", "b.overlay"]


def test_shards_share_all_videos_whatever_else_there_is(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.mp4").touch()
    parts = [set(names(tmp_path, shard=f"{n}/3")) for n in (1, 2, 3)]
    assert set.union(*parts) == set(names(tmp_path)) and sum(map(len, parts)) == 40 and all(parts)
    (tmp_path / "new.mp4").touch()
    assert [set(names(tmp_path, shard=f"{n}/3")) - {"new"} for n in (1, 2, 3)] == parts


def test_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.doc").touch()
    with pytest.raises(UsageError, match="no video in"):
        names(tmp_path / "empty")
    with pytest.raises(VideoError, match="there is no file"):
        names(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match=r"there is no file a\\x00b"):
        names("a\0b")
    with pytest.raises(UsageError, match="shard is i/n"):
        names(tmp_path / "empty", shard="0/3")


def test_names_from_elsewhere_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://b/x/../../etc/a?.mp4\ns3://b/x/ok.mp4\n")
    assert all(".." not in name.split("/") and "?" not in name for name in names(tmp_path / "list.txt"))
