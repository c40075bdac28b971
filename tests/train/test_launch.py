"""From the command line to a run: options arrive, devices are chosen by one rule, nothing is imported in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tapkit.cli.main import main
from tapkit.errors import StorageError, UsageError
from tapkit.models.strand.encoder import StrandConfig
from tapkit.models.strand.network import Network
from tapkit.train import checkpoint
from tapkit.train.cache import CachedSource
from tapkit.train.config import TrainConfig
from tapkit.train.launch import Data, cache_folder, make_source
from tapkit.train.schedule import preset
from tapkit.train.strand.presets import PRESETS
from tapkit.train.workers import training_device

SMALL = ["--preset", "finetune", "--total-steps", "5", "--device", "cpu", "--precision", "float32"]


def tapkit(monkeypatch, *arguments: str) -> int:
    """The exit code of `tapkit ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["tapkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_command_passes_its_options_on_and_says_errors_in_one_sentence(tmp_path, monkeypatch, capsys):
    assert tapkit(monkeypatch, "train", "--out", tmp_path / "run", *SMALL, "--minutes", "0", "--quiet") == 0
    run = checkpoint.read_run(tmp_path / "run" / "state")
    assert run["step"] == 0 and TrainConfig.from_dict(run["config"]) == preset(PRESETS, "finetune", 5)
    assert run["commands"][0].startswith("tapkit train --out")
    assert tapkit(monkeypatch, "train", "--out", tmp_path / "run", *SMALL) == 2
    assert "resume it (--resume)" in capsys.readouterr().err
    assert tapkit(monkeypatch, "train", "--out", tmp_path / "new", "--preset", "huge") == 2
    assert "no preset 'huge'" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert tapkit(monkeypatch, "train", "--out", tmp_path / "new", "--photos", empty) == StorageError.exit_code
    assert "no photograph" in capsys.readouterr().err


def test_the_network_is_that_of_the_weights_to_start_from(tmp_path, monkeypatch):
    first = tmp_path / "first.safetensors"
    wanted = StrandConfig(encoder="lite0", evidence=True)
    save_file(Network(wanted).state_dict(), first)
    for preset_name in ("finetune", "lite0-tracking"):
        out = tmp_path / preset_name
        arguments = ("train", "--out", out, "--preset", preset_name, "--init", first, "--device", "cpu")
        assert tapkit(monkeypatch, *arguments, "--minutes", "0", "--quiet") == 0
        settings = TrainConfig.from_dict(checkpoint.read_run(out / "state")["config"]).settings
        assert (settings.encoder, settings.evidence) == (wanted.encoder, wanted.evidence)


@pytest.mark.parametrize("name", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, capsys, name):
    assert tapkit(monkeypatch, "train", "--out", tmp_path / "run", "--device", name) == 2
    said = capsys.readouterr().err
    assert name in said and "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_the_device_is_chosen_as_everywhere_else(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("tapkit.train.workers.choose_device", lambda name: torch.device("mps"))
    assert training_device("auto") == torch.device("mps")


@pytest.mark.parametrize(("name", "local", "expected"), [("auto", "1", 1), ("cuda", "2", 2), ("cuda:0", "2", 0)])
def test_under_torchrun_each_process_takes_its_own_gpu(monkeypatch, name, local, expected):
    taken = []
    monkeypatch.setenv("LOCAL_RANK", local)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    choose = lambda name: torch.device("cuda" if name == "auto" else name)  # noqa: E731
    monkeypatch.setattr("tapkit.train.workers.choose_device", choose)
    assert training_device(name) == torch.device("cuda", expected) == taken[0]
    monkeypatch.setenv("LOCAL_RANK", "3")
    if name != "cuda:0":
        with pytest.raises(UsageError, match="no GPU of its own"):
            training_device(name)


def test_several_processes_without_cuda_train_on_the_processor(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert training_device("auto") == torch.device("cpu")


def test_a_run_keeps_its_clips_where_it_began_to_keep_them(tmp_path):
    cpu = torch.device("cpu")
    assert cache_folder(tmp_path) == tmp_path / "cache"
    (tmp_path / "pool").mkdir()
    source = make_source(PRESETS["cpu"], tmp_path, cpu, Data())
    assert isinstance(source, CachedSource) and source.folder == tmp_path / "pool"
    with pytest.raises(StorageError, match="no photograph"):
        make_source(PRESETS["finetune"], tmp_path, cpu, Data(photos=tmp_path, folder=tmp_path))


def test_training_from_the_command_line_needs_no_video_library(tmp_path):
    blocked = ("av", "cv2", "scipy", "pandas", "pyarrow", "matplotlib", "zarr", "onnx")
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"  # importing one of them fails
        f"sys.argv = ['tapkit', 'train', '--out', {str(tmp_path / 'run')!r}, '--preset', 'datacenter', "
        "'--total-steps', '4', '--minutes', '0', '--device', 'cpu']\n"
        "from tapkit.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "step 0 of 4" in done.stdout


def test_the_package_is_a_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tapkit", "train", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--total-steps" in done.stdout


TWO = """
import hashlib, sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[1])
from conftest import Drift
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.strand.recipe import build
from tapkit.train.trainer import Trainer

cpu = torch.device("cpu")
stages = (Stage(1, 64, 3, 2, 6, task="matching"), Stage(1, 64, 4, 1, 6))
config = TrainConfig(stages, warmup=1)
trainer = Trainer(config, build(config, cpu), Drift(), cpu, "float32")
losses = [trainer.train_step()["loss"] for _ in range(2)]
digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in trainer.tensors().values())).hexdigest()
Path(sys.argv[2], str(trainer.workers.rank)).write_text(f"{digest} {trainer.clips} {losses[0]}")
trainer.workers.close()
"""


def torchrun(*arguments: str) -> str:
    """Two processes; what they wrote to standard output."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's launcher and Gloo are only relied on under Linux")
def test_two_processes_train_one_network_on_batches_of_their_own(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    torchrun(str(script), str(Path(__file__).parent), str(tmp_path))
    first, second = ((tmp_path / rank).read_text().split() for rank in "01")
    assert first[0] == second[0], "the same weights and statistics"
    assert first[1] == second[1] == "6" and first[2] != second[2]


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's launcher and Gloo are only relied on under Linux")
def test_torchrun_starts_the_command_and_one_process_speaks_and_writes(tmp_path):
    said = torchrun("-m", "tapkit", "train", "--out", str(tmp_path / "run"), *SMALL, "--minutes", "0")
    assert said.count("step 0 of 5") == 1
    assert checkpoint.read_run(tmp_path / "run" / "state")["step"] == 0
