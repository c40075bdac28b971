"""Sizes and NAME=VALUE pairs, well and badly written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tapkit.errors import UsageError
from tapkit.evaluation.protocol import Protocol
from tapkit.parsing import parse_pairs, parse_resolution, parse_size, read_options


@pytest.mark.parametrize("text", ["1920x1080", "1920X1080", "1920×1080", "1920 x 1080", " 1920\u00a0×\u00a01080 "])
def test_sizes_are_height_and_width(text: str) -> None:
    assert parse_size(text) == (1080, 1920)
    assert parse_resolution(text) == (1920, 1080)


ODD_SIZES = [
    "", "x", "12", "12x", "x12", "0x5", "5x0", "-3x4", "1.5x2", "1x2x3", "1920*1080", "1920,1080", "1920 1080",
    "1e3x5", "٣x٤", "axb", "12x34px", "0x10x5",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_SIZES)
def test_what_is_no_size_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="--of takes WIDTHxHEIGHT such as 1920x1080, got") as error:
        parse_size(text, "--of")
    assert repr(text) in str(error.value) and error.value.exit_code == 2
    with pytest.raises(UsageError, match="native, model or HEIGHTxWIDTH"):
        parse_resolution(text)
    with pytest.raises(UsageError, match="native, model or HEIGHTxWIDTH"):
        Protocol(resolution=text)


def test_values_are_json_where_they_are() -> None:
    pairs = ["a=1", "b=0.5", "c=true", "d=null", "e=[1, 2]", "f=text", "g=", "h=a=b", "max-side = 9", 'i="1"', "a=2"]
    assert read_options(pairs) == {
        "a": 2, "b": 0.5, "c": True, "d": None, "e": [1, 2], "f": "text", "g": "", "h": "a=b", "max_side": 9, "i": "1",
    }  # fmt: skip
    assert parse_pairs(["a=1", "b=[1"]) == {"a": "1", "b": "[1"}
    assert read_options(None) == parse_pairs([]) == {}


@pytest.mark.parametrize("pair", ["", "a", "=", "=1", "  =1", "a:1", "--a"])
def test_what_is_no_pair_is_one_sentence(pair: str) -> None:
    for parse in (parse_pairs, read_options):
        with pytest.raises(UsageError, match="--option takes NAME=VALUE, got") as error:
            parse(["good=1", pair], "--option")
        assert repr(pair) in str(error.value)


def test_parsing_needs_no_torch() -> None:
    script = "import sys, tapkit.parsing, tapkit.cli.options; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
