"""Memory that large temporaries give back serves again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CHILD = """
import resource, sys
import torch
from tapkit.engine.memory import keep_freed

if sys.argv[1] == "kept":
    keep_freed()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    before = faults()
    [torch.ones(1 << 20) for _ in range(5)]  # 4 MiB each, all alive at once
    last = faults() - before
print(last)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc heeds it")
def test_memory_that_is_kept_is_not_mapped_page_by_page_again() -> None:
    kept, plain = (
        int(subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "plain")
    )
    assert kept < 500 < plain
