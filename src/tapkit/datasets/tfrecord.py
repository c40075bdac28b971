"""TFRecord files and tf.train.Example messages without TensorFlow.

A TFRecord is: length (8 bytes), checksum of the length, data, checksum of the data; checksums are CRC-32C,
rotated and offset ("masked"). The messages are Protocol Buffers with these fields (tensorflow/core/example):
Example {features=1}, SequenceExample {context=1, feature_lists=2}, Features {feature=1: map name -> Feature},
FeatureLists {feature_list=1: map name -> FeatureList}, FeatureList {feature=1}, Feature {bytes_list=1 |
float_list=2 | int64_list=3}, each list {value=1}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import storage
from tapkit.errors import StorageError

Feature = list[bytes] | np.ndarray
"""Values of a feature: byte strings, float32 [n] or int64 [n]."""


class RecordPlace(NamedTuple):
    """Where a record's data lies."""

    offset: int
    length: int


def record_places(path: Path) -> list[RecordPlace]:
    """All records of a file, from their lengths alone (each length's checksum is verified)."""
    places: list[RecordPlace] = []
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            at = 0
            while at < size:
                file.seek(at)
                head = file.read(12)
                if len(head) < 12:
                    raise StorageError(f"{path} ends within the head of record {len(places)}; it is truncated")
                length, checksum = struct.unpack("<QI", head)
                if masked_crc(head[:8]) != checksum:
                    raise StorageError(f"{path} is no TFRecord, or damaged, at byte {at}")
                if at + 16 + length > size:
                    raise StorageError(f"{path} ends within record {len(places)}; it is truncated")
                places.append(RecordPlace(at + 12, length))
                at += 16 + length
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    return places


def read_record(path: Path, place: RecordPlace, verify: bool = False) -> bytes:
    """The data of one record; with `verify` its checksum is checked."""
    with open(path, "rb") as file:
        file.seek(place.offset)
        data, checksum = file.read(place.length), file.read(4)
    if len(data) < place.length or len(checksum) < 4:
        raise StorageError(f"{path} ends within the record at byte {place.offset}; it is truncated")
    if verify and masked_crc(data) != struct.unpack("<I", checksum)[0]:
        raise StorageError(f"{path}: the record at byte {place.offset} is damaged (its checksum is wrong)")
    return data


def write_records(path: Path, records: Iterator[bytes]) -> int:
    """Write a TFRecord file, all of it or nothing; returns the number of records."""
    count = 0
    with storage.atomic(path) as part, open(part, "wb") as file:
        for data in records:
            head = struct.pack("<Q", len(data))
            file.write(head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data)))
            count += 1
    return count


# -- messages -------------------------------------------------------------------------------------


def parse_example(data: bytes) -> dict[str, Feature]:
    """A serialised Example, or the context of a SequenceExample, by feature name."""
    features: dict[str, Feature] = {}
    for number, value in _fields(memoryview(data)):
        if number == 1:
            features |= dict(_feature_map(_message(value)))
    return features


def parse_sequence_example(data: bytes) -> tuple[dict[str, Feature], dict[str, list[Feature]]]:
    """A serialised SequenceExample -> (context, feature lists)."""
    lists: dict[str, list[Feature]] = {}
    for number, value in _fields(memoryview(data)):
        if number == 2:
            for entry_number, entry in _fields(_message(value)):
                if entry_number == 1:
                    key, content = _entry(_message(entry))
                    lists[key] = [_feature(_message(f)) for n, f in _fields(content) if n == 1]
    return parse_example(data), lists


def encode_example(features: dict[str, Feature]) -> bytes:
    """The inverse of `parse_example`."""

    def field(number: int, content: bytes) -> bytes:
        return _varint_bytes(number << 3 | 2) + _varint_bytes(len(content)) + content

    def feature(value: Feature) -> bytes:
        if isinstance(value, list):
            return field(1, b"".join(field(1, item) for item in value))
        array = np.asarray(value)
        if array.dtype.kind == "f":
            return field(2, field(1, array.astype("<f4").tobytes()))
        packed = b"".join(_varint_bytes(int(n) & (1 << 64) - 1) for n in array.ravel())
        return field(3, field(1, packed))

    entries = (field(1, field(1, key.encode()) + field(2, feature(value))) for key, value in features.items())
    return field(1, b"".join(entries))


def _feature_map(data: memoryview) -> Iterator[tuple[str, Feature]]:
    for number, entry in _fields(data):
        if number == 1:
            key, value = _entry(_message(entry))
            yield key, _feature(value)


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """Key and value of a map entry."""
    key, value = "", memoryview(b"")
    for number, content in _fields(data):
        if number == 1:
            key = bytes(_message(content)).decode("utf-8", "replace")
        elif number == 2:
            value = _message(content)
    return key, value


def _feature(data: memoryview) -> Feature:
    for kind, content in _fields(data):
        values = list(_fields(_message(content)))
        if kind == 1:
            return [bytes(_message(value)) for number, value in values if number == 1]
        if kind == 2:
            return np.concatenate(
                [np.zeros(0, np.float32), *(_floats(value) for number, value in values if number == 1)]
            )
        if kind == 3:
            numbers = [n for number, value in values if number == 1 for n in _integers(value)]
            return np.array(numbers, np.uint64).astype(np.int64)
    return []


def _floats(value: int | memoryview) -> np.ndarray:
    """Packed floats, or one float that came as a fixed 32-bit field."""
    return np.frombuffer(value if isinstance(value, memoryview) else struct.pack("<I", value), "<f4")


def _integers(value: int | memoryview) -> Iterator[int]:
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise StorageError("a record is not a tf.train.Example: a number stands where a message should")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and raw values of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(kind, -1)
        if length < 0 or at + length > len(data):
            raise StorageError("a record is not a tf.train.Example, or it is damaged")
        chunk = data[at : at + length]
        at += length
        yield number, chunk if kind == 2 else int.from_bytes(chunk, "little")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise StorageError("a record is not a tf.train.Example, or it is damaged")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def _varint_bytes(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# -- CRC-32C --------------------------------------------------------------------------------------

LANES = 8192


def masked_crc(data: bytes) -> int:
    """The checksum that TFRecord stores."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), by running many stretches of the data side by side and joining them.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table = _table()
    step = len(data) // LANES
    state = np.uint32(0xFFFFFFFF)
    if step >= 4:
        lanes = np.frombuffer(data, np.uint8, step * LANES).reshape(LANES, step).T
        registers = np.zeros(LANES, np.uint32)
        for column in np.ascontiguousarray(lanes):
            registers = table[(registers ^ column) & 0xFF] ^ registers >> np.uint32(8)
        zeros = step
        while len(registers) > 1:  # join neighbours: the left one has seen `zeros` more bytes go by
            registers = _advance(registers[::2], zeros) ^ registers[1::2]
            zeros *= 2
        state = _advance(np.array([state], np.uint32), zeros)[0] ^ registers[0]
        data = data[step * LANES :]
    value = int(state)
    plain = table.tolist()
    for byte in data:
        value = plain[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


@cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> np.uint32(1) ^ np.uint32(0x82F63B78), table >> np.uint32(1))
    return table


def _advance(registers: np.ndarray, zeros: int) -> np.ndarray:
    """The registers after that many zero bytes: a linear map over bits, by repeated squaring."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    columns = _table()[bits & 0xFF] ^ bits >> np.uint32(8)  # one zero byte
    while zeros:
        if zeros & 1:
            registers = _apply(columns, registers)
        columns = _apply(columns, columns)
        zeros >>= 1
    return registers


def _apply(columns: np.ndarray, registers: np.ndarray) -> np.ndarray:
    out = np.zeros_like(registers)
    for bit in range(32):
        out ^= np.where(registers >> np.uint32(bit) & np.uint32(1), columns[bit], np.uint32(0))
    return out
