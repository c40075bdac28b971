"""`tapkit eval` and `tapkit data` from the outside."""

import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from tapkit.cli.data import data_app
from tapkit.cli.eval import evaluate
from tapkit.errors import TapkitError

runner = CliRunner()
app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def clips(tmp_path):
    """Three clips of noise that drifts by a pixel a frame."""
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        folder = tmp_path / "set" / name
        (folder / "frames").mkdir(parents=True)
        texture = np.kron(random.integers(0, 256, (20, 30, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        for t in range(5):
            Image.fromarray(np.roll(texture, t, 1)[:64, :96]).save(folder / "frames" / f"{t:05d}.png")
        start = random.uniform(20, 44, (6, 1, 2))
        xy = start + np.stack([np.arange(5), np.zeros(5)], 1)
        np.savez(folder / "tracks.npz", xy=xy.astype(np.float32), visible=np.ones((6, 5), bool))
    return tmp_path / "set"


def run(app, *arguments):
    result = runner.invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_eval_writes_the_three_files_and_prints_the_table(clips, tmp_path):
    out = tmp_path / "out"
    result = run(app, clips, "--model", "lucas-kanade", "--out", out)
    assert result.exit_code == 0
    assert "| lucas-kanade |" in result.output
    assert {p.name for p in out.iterdir()} == {"predictions", "report.html", "result.json", "result.md"}
    assert json.loads((out / "result.json").read_text())["models"][0]["summary"]["average_jaccard"]["value"] > 0.8


def test_figures_alone_are_printed_and_nothing_is_written(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = run(app, clips, "--model", "lucas-kanade", "--figures")
    lines = result.output.splitlines()
    assert lines[0].split() == ["lucas-kanade", "AJ", "delta", "avg", "OA", "seconds"]
    figures = {line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in lines[1:4]}
    assert set(figures) == {"a", "b", "c"} and lines[5] == "mean of 3 clips, lucas-kanade"
    means = [float(cell) for cell in lines[6].split()]
    np.testing.assert_allclose(means[:3], np.mean([row[:3] for row in figures.values()], 0), atol=0.11)
    assert lines[7].startswith("query first; frames as they are")
    assert sorted(tmp_path.rglob("*")) == before
    written = run(app, clips, "--model", "lucas-kanade", "--out", tmp_path / "out")
    assert written.exit_code == 0
    summary = json.loads((tmp_path / "out" / "result.json").read_text())["models"][0]["summary"]
    assert means[0] == pytest.approx(100 * summary["average_jaccard"]["value"], abs=0.06)


def test_figures_go_without_a_folder(clips, tmp_path):
    with pytest.raises(TapkitError, match="writes nothing"):
        run(app, clips, "--model", "lucas-kanade", "--figures", "--out", tmp_path / "out")


def test_the_last_shard_writes_the_report(clips, tmp_path):
    out = tmp_path / "out"
    first = run(app, clips, "--model", "lucas-kanade", "--out", out, "--shard", "1/2")
    assert "1 clips wait" in first.output
    assert not (out / "result.json").exists()
    run(app, clips, "--model", "lucas-kanade", "--out", out, "--shard", "2/2")
    assert len(json.loads((out / "result.json").read_text())["models"][0]["clips"]) == 3


def test_compare_prints_a_verdict_for_each_figure(clips, tmp_path):
    for name, resolution in (("x", "native"), ("y", "32x32")):
        run(app, clips, "--model", "lucas-kanade", "--out", tmp_path / name, "--resolution", resolution, "-q")
    result = run(app, "--compare", tmp_path / "x", tmp_path / "y")
    assert result.output.count("noise") == 3
    assert "protocols differ" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to measure"),
        (["{set}"], "say what to measure"),
        (["{set}", "--model", "lucas-kanade", "--mode", "last"], "query mode"),
        (["{set}", "--model", "lucas-kanade", "--shard", "5/2"], "shard"),
        (["{set}/nothing", "--model", "lucas-kanade"], "does not exist"),
        (["{set}", "--model", "no-such-model"], "no-such-model"),
        (["--compare", "{set}", "{set}"], "does not exist"),
    ],
)
def test_bad_calls_give_one_sentence(clips, arguments, message):
    with pytest.raises(TapkitError, match=message) as raised:
        run(app, *[a.replace("{set}", str(clips)) for a in arguments])
    assert "\n" not in str(raised.value)


def test_data_check_exits_with_one_if_anything_is_damaged(clips):
    assert run(data_app, "check", clips).exit_code == 0
    (clips / "b" / "frames" / "00004.png").unlink()
    result = run(data_app, "check", clips)
    assert result.exit_code == 1
    assert "damaged" in result.output
    assert "2 ok" in result.output


def test_data_convert_makes_a_pickle_and_folders_that_are_read_alike(clips, tmp_path):
    run(data_app, "convert", clips, tmp_path / "all.pkl")
    run(data_app, "convert", tmp_path / "all.pkl", tmp_path / "again", "--clip", "b")
    assert (tmp_path / "again" / "b" / "tracks.npz").is_file()
    ours, theirs = (np.load(root / "b" / "tracks.npz")["xy"] for root in (tmp_path / "again", clips))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    with pytest.raises(TapkitError, match="--force replaces it"):
        run(data_app, "convert", clips, tmp_path / "all.pkl")


def test_the_command_is_registered():
    done = subprocess.run([sys.executable, "-m", "tapkit.cli.main", "eval", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "tiny" in done.stdout
