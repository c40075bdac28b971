"""The recipe "a shot to Nuke, with a correction", run on the whole sample clip."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tapkit.cli.main import app
from tapkit.types import Tracks
from tapkit.video.samples import sample

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "nuke-shot.md").read_text(encoding="utf-8")


def test_the_recipe_ends_in_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(sample("blocks"), "clip.mp4")
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```csv\n(.*?)\n```", PAGE, re.S):
        Path(name).write_text(content)
    lines = (
        "\n".join(re.findall(r"<!-- run on blocks -->\n```sh\n(.*?)\n```", PAGE, re.S))
        .replace("\\\n", " ")
        .splitlines()
    )
    said = {}
    for line in lines:
        _, *arguments = shlex.split(line)
        assert app.main(arguments, prog_name="tapkit", standalone_mode=False) in (None, 0), line
        said[line] = capsys.readouterr().out
    # What the page quotes is what the run says: which point, which kind of doubt (frames may differ by platform).
    doubt = next(out for line, out in said.items() if line.startswith("tapkit track")).splitlines()[1]
    quoted = re.search(r"```text\n(.*?)\n```", PAGE, re.S)
    assert quoted and re.sub(r"\d+", "N", doubt) == re.sub(r"\d+", "N", quoted[1])
    first, better, final = (Tracks.load(f"{name}.npz") for name in ("clip.tracks", "shot", "final"))
    assert better.xy[0, [50, 60, 70]].tolist() == [[197, 285], [196, 287], [194, 288]]
    np.testing.assert_array_equal(better.xy[1], first.xy[1])
    # The block lies still from frame 70 on.
    assert np.abs(better.xy[0, 70:] - [194, 288]).max() < 3 < np.abs(first.xy[0, 70:] - [194, 288]).max()
    np.testing.assert_array_equal(final.xy, better.xy)
    assert "no keyframe has changed" in said["tapkit retrack clip.mp4 corrected.npz -o final.npz"]
    script = Path("final.nk").read_text()
    assert "yellow_block" in script and "x_block" in script and Path("clip.overlay.mp4").exists()
