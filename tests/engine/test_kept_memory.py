"""Memory that large temporaries give back serves again."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

CHILD = """
import ctypes, sys
import torch
from tapkit.engine.memory import keep_freed

class Info(ctypes.Structure):
    _fields_ = [(str(number), ctypes.c_size_t) for number in range(10)]

def mapped():  # blocks that are mapped apart, which the next of their size will have to be again
    return getattr(libc.mallinfo2(), "3")

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
if sys.argv[1] == "kept":
    keep_freed()
before = mapped()
large = torch.ones(6 << 20)  # 24 MiB
print(mapped() - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc heeds it, and tells since 2.33",
)
def test_large_blocks_are_no_longer_mapped_apart() -> None:
    kept, plain = (
        int(subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "plain")
    )
    assert (kept, plain) == (0, 1)
