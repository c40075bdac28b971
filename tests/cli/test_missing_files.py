"""A name mistyped costs no time: it is said before torch, PyAV or Matplotlib are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "av", "matplotlib", "pandas", "scipy", "PIL")
RUN = """
import sys
from tapkit.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code, *(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("export no.npz out.nk", 6, "no.npz does not exist"),
        ("export no.npz --to ae", 6, "no.npz does not exist"),
        ("import no.nk out.npz --from nuke", 6, "no.nk does not exist"),
        ("stats no.npz", 6, "no.npz does not exist"),
        ("plot no.npz", 6, "no.npz does not exist"),
        ("info no.npz", 6, "no.npz does not exist"),
        ("info no.mp4", 3, "there is no file no.mp4"),
        ("draw no.mp4 no.npz out.mp4", 3, "there is no file no.mp4"),
        ("draw here.mp4 no.npz out.mp4", 6, "no.npz does not exist"),
        ("show here.mp4 no.npz", 6, "no.npz does not exist"),
        ("show no.mp4 no.npz", 3, "there is no file no.mp4"),
        ("track no.mp4", 3, "there is no file no.mp4"),
    ],
)
def test_a_file_that_is_not_there_is_said_at_once(tmp_path: Path, command: str, code: int, said: str) -> None:
    (tmp_path / "here.mp4").touch()
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(heavy=HEAVY), *command.split()],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stderr.strip() == f"tapkit: {said}"
    assert done.stdout.split() == [str(code)], "an exit code, and nothing heavy imported"
    assert [path.name for path in tmp_path.iterdir()] == ["here.mp4"]
