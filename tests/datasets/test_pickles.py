"""Pickles are read, not run: what is allowed comes back equal, everything else is refused in one sentence."""

import collections
import os
import pickle
import pickletools
import subprocess

import numpy as np
import pytest

from tapkit.datasets.pickles import Blob, LazyArray, read_pickle
from tapkit.errors import StorageError


def plain(value):
    """Lazy values read out."""
    if isinstance(value, LazyArray):
        return [plain(item) for item in value.items()] if value.dtype.hasobject else np.array(value.open())
    if isinstance(value, Blob):
        return value.read()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value


CONTENT = {
    "clip": {
        "video": np.arange(3 * 20 * 30 * 3, dtype=np.uint8).reshape(3, 20, 30, 3),
        "points": np.linspace(0, 1, 4 * 3 * 2, dtype=np.float32).reshape(4, 3, 2),
        "occluded": np.arange(12).reshape(4, 3) % 2 == 0,
    },
    "column by column": np.asfortranarray(np.arange(600.0).reshape(30, 20)),
    "big endian": np.arange(500, dtype=">i4"),
    "empty": np.zeros((0, 5), np.float32),
    "images": np.array([b"x" * 3000, b"yy"], dtype=object),
    "strings": np.array([b"abc", b"de"]),
    "number": np.float32(3.5),
    "plain": [1, -7, 2.5, None, True, False, 10**15, "hé", (1, (2,)), b"short", collections.OrderedDict(a=1)],
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_containers_come_back_equal_from_every_protocol(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    read = plain(read_pickle(path))
    for key in ("video", "points", "occluded"):
        np.testing.assert_array_equal(read["clip"][key], CONTENT["clip"][key])
        assert read["clip"][key].dtype == CONTENT["clip"][key].dtype
    for key in ("column by column", "big endian", "empty", "strings"):
        np.testing.assert_array_equal(read[key], CONTENT[key])
    assert read["images"] == [b"x" * 3000, b"yy"]
    assert read["number"] == 3.5
    assert read["plain"] == CONTENT["plain"]


def test_large_arrays_stay_in_the_file(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT))
    array = read_pickle(path)["clip"]["video"]
    assert isinstance(array.data, Blob)
    assert isinstance(array.open(), np.memmap)
    assert not array.open().flags.writeable


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch proof",)


class Popen:
    def __reduce__(self):
        return subprocess.Popen, (["touch", "proof"],)


class Evaluated:
    def __reduce__(self):
        return eval, ("open('proof', 'w')",)


class Stateful:
    """A plain object with a state."""

    def __init__(self):
        self.a = 1


def raw(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


HOSTILE = {
    "os.system": pickle.dumps(Command()),
    "os.system, protocol 0": pickle.dumps(Command(), 0),
    "os.system inside a clip": pickle.dumps({"clip": {"video": Command()}}),
    "subprocess": pickle.dumps(Popen()),
    "eval": pickle.dumps(Evaluated()),
    "an object of a class": pickle.dumps(Stateful()),
    "a module's function": pickle.dumps(np.load),
    "old-style instance": raw(b"(cos\nsystem\nS'touch proof'\no"),
    "instance by name": raw(b"(S'touch proof'\nios\nsystem\n"),
    "attribute of an allowed module": raw(b"cnumpy\nload\n"),
    "allowed name called with something else": raw(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\nK\x00tR"),
    "calling a dict": raw(b"}(K\x01tR"),
    "state of a list": raw(b"](K\x01tb"),
    "array of objects by dtype alone": pickle.dumps(np.array([Stateful()], dtype=object)),
    "persistent id": raw(b"Pabc\n"),
    "extension": raw(b"\x82\x01"),
    "set": pickle.dumps({1, 2}, 4),
    "structured array": pickle.dumps(np.zeros(3, [("a", "f4")])),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(StorageError) as refusal:
        read_pickle(path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "proof").exists()


def test_the_refusal_names_what_was_to_be_called(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(HOSTILE["subprocess"])
    with pytest.raises(StorageError, match=r"refused: it contains a call of subprocess\.Popen"):
        read_pickle(path)


def test_every_truncation_is_an_error_in_one_sentence(tmp_path):
    data = pickle.dumps({"a": np.arange(4.0), "b": ["x", 1, (2, None)]})
    path = tmp_path / "a.pkl"
    for length in range(len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(StorageError):
            read_pickle(path)


def test_every_flipped_byte_gives_a_value_or_a_clean_error(tmp_path):
    data = pickle.dumps({"a": np.arange(4.0), "b": ["x", 1, (2, None)]})
    path = tmp_path / "a.pkl"
    refused = 0
    for place in range(len(data)):
        for value in (0x00, 0x52, 0xFF, data[place] ^ 1):
            path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
            try:
                plain(read_pickle(path))
            except StorageError:
                refused += 1
    assert refused > len(data)


def test_an_array_that_claims_more_than_its_bytes_is_refused(tmp_path):
    data = pickle.dumps(np.zeros(300, np.uint8), 4)
    place = data.index(b"M\x2c\x01")  # the shape's 300
    path = tmp_path / "a.pkl"
    path.write_bytes(data[:place] + b"M\xff\xff" + data[place + 3 :])
    with pytest.raises(StorageError, match="wrong number of bytes"):
        read_pickle(path)


def test_the_machine_knows_or_forbids_every_instruction_of_the_language(tmp_path):
    from tapkit.unpickle import ACTIONS as _ACTIONS
    from tapkit.unpickle import FORBIDDEN as _FORBIDDEN

    codes = {ord(opcode.code) for opcode in pickletools.opcodes}
    assert codes == _ACTIONS.keys() | _FORBIDDEN.keys() | {ord(".")}
    assert not _ACTIONS.keys() & _FORBIDDEN.keys()
