"""Files and folders are replaced in one step, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tapkit import storage
from tapkit.errors import StorageError, UsageError


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def make_folder(path: Path, content: str) -> None:
    path.mkdir()
    (path / content).write_text(content)


def test_a_file_appears_when_the_block_is_left_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with storage.atomic(target) as part:
        part.write_text("new")
        assert not target.exists() and part.parent == target.parent
    assert target.read_text() == "new" and names(tmp_path / "new") == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "old")
    with storage.atomic(tmp_path / "a") as part:
        make_folder(part, "new")
        assert (tmp_path / "a" / "old").exists()
    assert names(tmp_path) == ["a", "a/new"]
    with pytest.raises(StorageError, match="Is a directory"), storage.atomic(tmp_path / "a") as part:
        part.write_text("a file instead")
    assert names(tmp_path) == ["a", "a/new"]


@pytest.mark.parametrize("way", [storage.atomic, storage.staged])
@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError("no"), OSError(errno.ENOSPC, "No space left")])
def test_nothing_changes_when_the_block_fails(tmp_path: Path, way, error) -> None:
    (tmp_path / "a").write_text("before")
    expected = StorageError if isinstance(error, OSError) else type(error) if isinstance(error, Exception) else error

    def fail() -> None:
        with way(tmp_path / "a") as part:
            part.write_text("half")
            raise error

    with pytest.raises(expected) as raised:
        fail()
    assert (tmp_path / "a").read_text() == "before" and names(tmp_path) == ["a"]
    if expected is StorageError:
        assert str(raised.value) == f"cannot write {tmp_path / 'a'}: No space left"


def test_a_folder_that_cannot_go_in_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a", "old")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if (Path(source) / "new").exists():
            raise OSError(errno.EACCES, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StorageError, match="Permission denied"), storage.atomic(tmp_path / "a") as part:
        make_folder(part, "new")
    assert names(tmp_path) == ["a", "a/old"]


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"), storage.atomic(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/a: Not a directory"):
        storage.write_text(tmp_path / "file" / "a", "text")
    with (
        pytest.raises(StorageError, match="No such file"),
        storage.atomic(tmp_path / "no" / "a", parents=False) as part,
    ):
        part.write_text("text")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "n" * 5000, "f\0/g"])
def test_what_no_file_can_be_called_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for use in (lambda: storage.atomic(path), lambda: storage.staged(path)):
        with pytest.raises(StorageError, match="cannot write") as error, use() as part:
            part.write_text("x")
        assert str(error.value).encode() and len(str(error.value)) < 400, "it can be printed, and read"
    with pytest.raises(StorageError) as error:
        storage.check_file(path)
    assert str(error.value).encode() and len(str(error.value)) < 400
    assert list(tmp_path.iterdir()) == []


def test_the_sentence_of_a_storage_error_within_is_kept(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^damaged$"), storage.atomic(tmp_path / "a"):
        raise StorageError("damaged")


def test_what_is_staged_joins_a_folder_that_is_there(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "old")
    with storage.staged(tmp_path / "a") as target:
        make_folder(target, "new")
        (target.parent / "beside.txt").write_text("beside")
    assert names(tmp_path) == ["a", "a/new", "a/old", "beside.txt"]


@pytest.mark.skipif(os.name == "nt", reason="no named pipes in the file system")
def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for way in (storage.atomic, storage.staged):
        with way(tmp_path / "pipe") as part:
            part.write_text("hello")
        assert os.read(reader, 100) == b"hello"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_writing_that_is_to_survive_a_power_cut_flushes_before_it_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("flush"))
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), real(a, b)))
    storage.write_text(tmp_path / "a", "text", sync=True)
    assert done == ["flush", "rename", "flush"]
    done.clear()
    storage.write_text(tmp_path / "a", "text")
    assert done == ["rename"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with storage.atomic(tmp_path / "a") as first, storage.atomic(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"  # left last
    assert names(tmp_path) == ["a"]


def test_a_file_is_moved_to_its_place_also_from_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").write_text("new")
    storage.put(tmp_path / "made", tmp_path / "out" / "a.txt")
    assert names(tmp_path) == ["out", "out/a.txt"]
    (tmp_path / "made").write_text("newer")
    replace = os.replace

    def across(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    storage.put(tmp_path / "made", tmp_path / "out" / "a.txt")
    assert names(tmp_path) == ["out", "out/a.txt"] and (tmp_path / "out" / "a.txt").read_text() == "newer"
    with pytest.raises(StorageError, match="cannot write"):
        storage.put(tmp_path / "missing", tmp_path / "out" / "a.txt")


def test_a_file_that_is_moved_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("flush"))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("move"), replace(*paths)))
    (tmp_path / "made").write_text("new")
    storage.put(tmp_path / "made", tmp_path / "a.txt")
    assert order[:2] == ["flush", "move"] and "flush" in order[2:] + ["flush"] * (os.name == "nt")


def test_what_safetensors_cannot_write_is_a_failure_of_the_file_system(tmp_path: Path) -> None:
    import torch

    with pytest.raises(FileNotFoundError):
        storage.write_tensors(tmp_path / "no folder" / "a.safetensors", {"a": torch.zeros(3)})
    with (
        pytest.raises(StorageError, match=r"cannot write .*a\.safetensors: "),
        storage.atomic(tmp_path / "a.safetensors") as part,
    ):
        storage.write_tensors(part / "below", {"a": torch.zeros(3)})
    storage.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)}, {"of": "nothing"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
