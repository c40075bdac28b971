"""Nothing that is there is replaced unless --force says so, and what is read never is: one rule for all commands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from tapkit.cli.main import COMMANDS
from tapkit.cli.outputs import claim
from tapkit.errors import UsageError
from tapkit.types import Queries, Tracks, VideoInfo

CLIP = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
READS_ONLY = {"models", "info", "show", "studio", "bench", "eval", "pseudo-label", "partial"}
"""Commands that write nothing, or into folders whose own rules are tested with them."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sequence, its tracks, weights, and at every output a file of the user."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shot").mkdir()
    for t, picture in enumerate(CLIP):
        Image.fromarray(picture).save(tmp_path / "shot" / f"{t:04d}.png")
    xy = np.full((2, 6, 2), 20.5, np.float32)
    every = np.ones((2, 6))
    video = VideoInfo(64, 48, frames=6, path=str(tmp_path / "shot"))
    tracks = Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0]), video)
    tracks.save(tmp_path / "t.npz")
    tracks.save(tmp_path / "t.csv")
    for name in (
        "mine.npz",
        "mine.mp4",
        "mine.csv",
        "mine.nk",
        "mine.safetensors",
        "mine.json",
        "mine.pkl",
        "mine.png",
    ):
        (tmp_path / name).write_text("mine")
    for name in ("full", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000003.png").write_text("mine")
    return tmp_path


def test_the_numbered_files_of_a_format_are_kept(here: Path) -> None:
    pytest.importorskip("OpenEXR")
    Tracks.load(here / "t.npz")[[0]].save(here / "one.npz")
    (here / "a.0003.exr").write_text("mine")
    assert "a.0003.exr is there already" in run("export", "one.npz", "a.exr", "--to", "stmap", code=2).stderr
    assert (here / "a.0003.exr").read_text() == "mine" and not (here / "a.0001.exr").exists()
    run("export", "one.npz", "a.exr", "--to", "stmap", "--start-frame", "101")
    assert (here / "a.0003.exr").read_text() == "mine" and (here / "a.0106.exr").is_file()
    run("export", "one.npz", "a.exr", "--to", "stmap", "--force")
    assert (here / "a.0003.exr").read_bytes() != b"mine"


REFUSED = [
    "track shot --grid 1 -m lucas-kanade -o mine.npz",
    "track shot --grid 1 -m lucas-kanade -o new.npz --overlay mine.mp4",
    "track shot --grid 1 -m lucas-kanade -o new.npz --overlay old/%06d.png",
    "track shot --grid 1 -m lucas-kanade -o full",
    "batch shot --grid 1 -m lucas-kanade -o new --report mine.csv",
    "dense shot -m lucas-kanade -o full.zarr",
    "flow shot -o mine.mp4",
    "flow shot -o full",
    "live shot --grid 1 -m lucas-kanade --record mine.mp4",
    "live shot --grid 1 -m lucas-kanade -o mine.csv",
    "retrack shot t.npz -o mine.npz",
    "draw shot t.npz mine.mp4",
    "objects shot --box 5,5,20,20 -o mine.csv",
    "edit sticker shot mine.png mine.mp4 --at 20,20",
    "edit corner-pin shot mine.nk --quad 5,5,20,5,20,20,5,20",
    "edit propagate shot mine.png old/%06d.png",
    "edit stabilise shot mine.mp4",
    "edit remove shot full --mask mine.png",
    "edit remove shot new --mask mine.png --fill mine.mp4",
    "edit trails shot t.npz mine.mp4",
    "edit region shot mine.json --box 5,5,20,20",
    "edit region shot new.json --box 5,5,20,20 --stmap old/%06d.png",
    "edit mask shot mine.png mine.mp4",
    "objects shot --box 5,5,20,20 -o new.csv --overlay mine.mp4",
    "servo demo -o full",
    "camera shot -m lucas-kanade -o mine.npz",
    "camera shot -m lucas-kanade -o new.tum -o full",
    "camera shot -m lucas-kanade -o new.tum --images old",
    "draw shot t.npz old",
    "plot t.npz mine.png",
    "stats t.npz mine.csv",
    "synth out -n 1 --sheet mine.png",
    "fit shot -o full",
    "generate -o out --scenes calibration --sheet mine.png",
    "train --out out --photos shot --export mine.safetensors",
    "data convert tiny mine.pkl",
    "data convert tiny full",
    "export t.npz mine.nk --to nuke",
    "export t.npz full --to colmap",
    "export t.npz mine.h5 --to dlc-predictions",
    "import t.csv mine.npz",
    "export-model lucas-kanade full",
    "project new full",
    "weights convert pips2 t.npz -o mine.safetensors",
    "weights average t.npz t.csv -o mine.safetensors",
    "plot t.npz mine.png",
    "stats t.npz mine.csv",
]
READ = [
    "track shot --grid 1 -m lucas-kanade -o new.npz --overlay shot --force",
    "track shot --grid 1 -m lucas-kanade -o new.npz --overlay shot/%04d.png --force",
    "track shot --points t.npz -m lucas-kanade -o t.npz --force",
    "retrack shot t.npz -o t.npz --force",
    "draw shot t.npz shot/0001.png --force",
    "fit shot -o shot --force",
    "objects shot t.csv -o t.csv --force",
    "servo demo --plan full -o full --force",
    "camera shot --tracks t.npz -o t.npz --force",
    "edit sticker shot mine.png mine.png --at 20,20 --force",
    "edit corner-pin shot t.csv --tracks t.csv --quad 5,5,20,5,20,20,5,20 --force",
    "edit trails shot t.npz shot/%04d.png --force",
    "edit mask shot mine.png shot/%04d.png --force",
    "draw shot/*.png t.npz shot/####.png --force",
    "draw shot/%04d.png t.npz shot/%04d.png --force",
    "stats t.csv t.csv --force",
    "export t.csv t.csv --to csv --force",
    "export t.csv ./t.csv --to csv-wide --force",
    "import t.csv t.csv --force",
    "import t.csv new.npz --original t.csv --force",
    "weights average t.npz t.csv -o t.npz --force",
    "plot t.csv t.csv --force",
    "stats t.csv ./t.csv --force",
]


def standing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_there_stays(here: Path, command: str) -> None:
    if "full.zarr" in command:
        (here / "full").rename(here / "full.zarr")
    before = standing(here)
    said = run(*command.split(), code=2).stderr
    assert re.search(r"--force|a folder with other things", said), said
    assert standing(here) == before


@pytest.mark.parametrize("command", [c for c in READ if "new.npz --original" not in c])
def test_what_is_read_is_never_written_to(here: Path, command: str) -> None:
    before = standing(here)
    run(*command.split(), code=2)
    assert standing(here) == before


def test_every_command_that_writes_is_in_the_table() -> None:
    assert {c.split()[0] for c in REFUSED} == set(COMMANDS) - READS_ONLY


def test_force_replaces(here: Path) -> None:
    run("export", "t.npz", "mine.nk", "--to", "nuke", "--force")
    assert "Tracker4" in (here / "mine.nk").read_text()
    run("draw", "shot", "t.npz", "mine.mp4", "--force", "-q")
    run("import", "t.csv", "mine.npz", "--force", "-q")
    assert len(Tracks.load(here / "mine.npz")) == 2


def test_links_and_other_spellings_are_the_same_file(here: Path) -> None:
    (here / "link.csv").symlink_to(here / "t.csv")
    (here / "hard.csv").hardlink_to(here / "t.csv")
    for name in ("link.csv", "hard.csv", f"../{here.name}/t.csv"):
        assert "what is read here" in run("import", "t.csv", name, "--force", code=2).stderr
    with pytest.raises(UsageError, match="named twice"):
        claim("a.npz", videos=["./a.npz"], force=True)
    claim("/dev/null", "a.npz", "b.npz", inputs=["http://a.npz"], force=False)


def test_an_interrupted_run_may_draw_its_overlay_anew(here: Path) -> None:
    (here / "a.npz.partial").mkdir()
    run("track", "shot", "--grid", 1, "-m", "lucas-kanade", "-o", "a.npz", "--overlay", "mine.mp4", "-q")
    assert (here / "mine.mp4").stat().st_size > 4
