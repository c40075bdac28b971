"""Published checkpoints load with all that their authors' training left in them, and nothing in any file is run."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapkit import registry, weights
from tapkit.errors import WeightsError

HERE = Path(__file__).parent


def _files() -> Any:
    spec = importlib.util.spec_from_file_location("checkpoint_files", HERE / "checkpoint_files.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its classes are pickled by name
    spec.loader.exec_module(module)
    return module


files = _files()
STATE = {
    "a.weight": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.arange(4).half(),
    "brain": torch.arange(4).bfloat16(),
    "count": torch.tensor(3),
    "none": torch.zeros(0, 5),
    "flag": torch.tensor([True, False]),
    "part": torch.arange(10.0)[3:7],
    "repeated": torch.ones(1).expand(4),
}


def same(read: weights.StateDict, state: dict[str, torch.Tensor]) -> None:
    assert read.keys() == state.keys()
    for name, value in state.items():
        assert read[name].dtype == value.dtype and torch.equal(read[name], value), name


@pytest.mark.parametrize("layout", ["archive", "stream"])
def test_tensors_of_every_kind_come_back_equal(tmp_path: Path, layout: str) -> None:
    state = {**STATE, "parameter": torch.nn.Parameter(torch.ones(2)), "column": torch.arange(4.0)[::2]}
    same(weights.read(files.save(tmp_path / "a.pth", state, layout)), state)


@pytest.mark.parametrize("layout", files.LAYOUTS)
def test_what_training_kept_beside_the_parameters_is_passed_over(tmp_path: Path, layout: str) -> None:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    content = files.trained(state)
    if layout == "tar":  # that old one had no types but float
        content["optimizer_state_dict"]["state"] = {}
    path = files.save(tmp_path / "a.pth", content, layout)
    same(weights.read(path), state)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        torch.load(path, weights_only=True)  # what it is about: PyTorch refuses the whole file


def test_tar_files_are_read_as_pytorch_reads_them(tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.pth", {"w": torch.arange(6.0).reshape(2, 3)}, "tar")
    assert torch.equal(weights.read(path)["w"], torch.load(path, weights_only=False)["w"])


@pytest.mark.parametrize("model", ["pips", "pips2"])
def test_pips_checkpoints_load_with_optimiser_and_schedule(tmp_path: Path, model: str) -> None:
    state = {k: torch.randn_like(v) for k, v in registry.build(model).network.state_dict().items()}
    path = files.save(tmp_path / "model-000200000.pth", files.trained(state), "archive")
    built = registry.build(model, weights.read(path)).network.state_dict()
    assert all(torch.equal(built[name], value) for name, value in state.items())


UNUSED = {
    "conv_stats_conv1": (1, 5, 5, 1, 8),
    "conv_stats_conv2": (1, 3, 3, 8, 8),
    "conv_stats_linear": (8, 4),
    "regression_hid": (8, 4),
    "regression_out": (4, 2),
}


def with_unused(params: dict[str, dict[str, np.ndarray]], prefix: str) -> dict[str, dict[str, np.ndarray]]:
    layers = {f"{prefix}/~/{name}": {"w": np.ones(s, np.float32), "b": np.ones(s[-1:])} for name, s in UNUSED.items()}
    return params | layers


def test_the_tapnet_file_loads_with_its_optimiser_and_layers_that_nothing_calls(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("tapnet_tests", HERE / "models" / "tapnet" / "test_tapnet.py")
    assert spec is not None and spec.loader is not None
    tapnet = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tapnet)
    torch.manual_seed(0)
    network = tapnet.TapNetNetwork()
    arrays = files.haiku(tapnet.haiku(network))
    state = {name: arrays.pop(name) for name in list(arrays) if name.endswith("_ema")}
    path = files.save_jax(tmp_path / "checkpoint.npy", with_unused(arrays, "tap_net"), state)
    built = registry.build("tapnet", weights.read(path)).network.state_dict()
    assert all(torch.equal(built[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("model", ["tapir", "tapir-causal"])
def test_tapir_files_load_with_their_optimiser_and_layers_that_nothing_calls(tmp_path: Path, model: str) -> None:
    spec = importlib.util.spec_from_file_location("tapir_tests", HERE / "models" / "tapir" / "test_tapir.py")
    assert spec is not None and spec.loader is not None
    tapir = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tapir)
    state = {k: torch.randn_like(v) for k, v in registry.build(model).network.state_dict().items()}
    params = with_unused(files.haiku(tapir.haiku(state)), "tapir")
    path = files.save_jax(tmp_path / "causal_tapir_checkpoint.npy", params)
    built = registry.build(model, weights.read(path)).network.state_dict()
    assert all(torch.equal(built[name], value) for name, value in state.items())


def test_parameters_in_the_wrapping_of_an_unknown_class_are_found(tmp_path: Path) -> None:
    class FlatMapping(dict):  # type: ignore[type-arg]
        def __reduce__(self) -> Any:
            return type(self), (dict(self),)

    with files.elsewhere("haiku_of_the_authors", FlatMapping=FlatMapping):
        params = FlatMapping({"m": FlatMapping({"w": np.ones(3, np.float32)})})
        path = files.save_jax(tmp_path / "a.npy", params)
    same(weights.read(path), {"m/w": torch.ones(3)})


def test_arrays_of_jax_itself_are_read_by_the_array_that_they_would_be(tmp_path: Path) -> None:
    def reconstruct(*_: Any) -> None: ...

    class Device:
        def __reduce__(self) -> Any:
            function, arguments, state = np.arange(3, dtype=np.float32).__reduce__()
            return reconstruct, (function, arguments, state, {"weak_type": False})

    with files.elsewhere("jax"), files.elsewhere("jax._src"), files.elsewhere("jax._src.array") as module:
        module._reconstruct_array = reconstruct
        reconstruct.__module__ = module.__name__
        reconstruct.__qualname__ = reconstruct.__name__ = "_reconstruct_array"
        path = files.save_jax(tmp_path / "a.npy", {"m": {"w": Device()}})
    same(weights.read(path), {"m/w": torch.arange(3.0)})


def test_optimiser_states_are_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are twice as large as the parameters."""
    state = {"w": torch.ones(1000)}
    path = files.save(tmp_path / "a.pth", files.trained(state), "archive")
    read: list[int] = []
    whole = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: read.append(a[2]) or whole(*a, **k))
    same(weights.read(path), state)
    assert read == [4000]


REFUSALS = {
    "a TorchScript program": (lambda p: torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), p), "TorchScript"),
    "a module": (lambda p: torch.save(torch.nn.Linear(1, 1), p), "no tensors, but torch.nn.modules.linear.Linear"),
    "an archive of other things": (lambda p: zipfile.ZipFile(p, "w").writestr("a.txt", "hello"), "unpack it first"),
    "a text": (lambda p: p.write_text("hello"), "no checkpoint"),
    "a page that says no": (lambda p: p.write_text("<!DOCTYPE html><html>"), "no checkpoint"),
    "another pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1}, 2)), "something else than a checkpoint"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    make, message = REFUSALS[name]
    make(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message) as told:
        weights.read(tmp_path / "a.pth")
    assert "\n" not in str(told.value)


def test_the_authors_packed_folder_is_told_to_be_one(tmp_path: Path) -> None:
    import tarfile

    files.save(tmp_path / "model-000200000.pth", {"w": torch.ones(1)}, "archive")
    for name, mode, message in (("a.tar", "w", "give reference/model"), ("a.tar.gz", "w:gz", "unpack it first")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(tmp_path / "model-000200000.pth", "reference/model-000200000.pth")
        with pytest.raises(WeightsError, match=message):
            weights.read(tmp_path / name)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.pth", {"w": torch.ones(300)}, "archive")
    data = path.read_bytes()
    place = data.index(b"M,\x01", data.index(b"_rebuild_tensor_v2"))
    again = data.index(b"M,\x01", place + 3)  # the shape's 300, behind that of the storage
    path.write_bytes(data[:again] + b"M\xff\xff" + data[again + 3 :])
    with pytest.raises(WeightsError, match=r"lacks w|no tensors"):
        weights.match(weights.read(path), {"w": (300,)}, "m")


FUZZ = """
import importlib.util, os, resource, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("checkpoint_files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = files
spec.loader.exec_module(files)
import numpy as np, torch
from tapkit import weights
from tapkit.errors import WeightsError

folder = Path(sys.argv[2])
os.chdir(folder)
state = {"w": torch.arange(6.0), "b": torch.ones(2, 3)}
good = files.save(folder / "good.pth", state, "archive")
weights.read(good)
weights.read(files.save_jax(folder / "good.npy", {"m": {"w": np.ones(3)}}))      # what is imported for these is so now
import tokenize; "a".encode("cp437"); b"a".decode("raw_unicode_escape")
watched = ("os.", "subprocess.", "exec", "compile", "import", "pickle.", "ctypes.", "shutil.", "socket.", "object.__")
allowed = ("os.scandir", "os.listdir", "object.__getattr__")
harm = []

def audit(event, arguments):
    parsed = event == "compile" and arguments[1] in ("<unknown>", b"<unknown>")   # the literal in the head of a .npy
    if on and event.startswith(watched) and event not in allowed and not parsed:
        harm.append(f"{now}: {event} {arguments}"[:200])

on, now = False, ""
sys.addaudithook(audit)
sizes, seen, kept = [], 0, 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def attempt(path):
    global on, seen, kept
    on = True
    try:
        read = weights.read(path)
        kept += path.name == "a.pth" and all(torch.equal(read[k], v) for k, v in state.items())
    except WeightsError as error:
        assert "\\n" not in str(error) and len(str(error)) < 600, str(error)
    finally:
        on = False
        seen += 1

for name in files.HARM:
    now = name
    for path in files.harmful_files(folder, name, good):
        attempt(path)

content = files.trained(state)
sources = [files.save(folder / f"{layout}.pth", content, layout) for layout in ("archive", "stream")]
sources.append(files.save(folder / "tar.pth", {"w": torch.ones(3), "n": {"a": (1, 2.5)}}, "tar"))
sources.append(files.save_jax(folder / "jax.npy", {"m": {"w": np.ones(3)}}))
random = np.random.RandomState(0)
for source in sources:
    data = source.read_bytes()
    target = folder / f"flipped{source.suffix}"
    for trial in range(int(sys.argv[3])):
        now = f"{source.name}, trial {trial}"
        changed = bytearray(data[: random.randint(len(data))] if trial % 4 == 0 else data)
        for place in random.randint(max(len(changed), 1), size=min(1 + trial % 3, len(changed))):
            changed[place] = (0x52, 0x62, 0x81, 0x63, 0x51, random.randint(256))[random.randint(6)]
        target.write_bytes(bytes(changed))
        attempt(target)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
assert not harm, harm[:5]
assert not (folder / "proof").exists()
assert grown < 400, f"{grown} MiB"
print(seen, kept)
"""


def test_no_file_runs_anything_or_takes_the_memory(tmp_path: Path) -> None:
    """In a process of its own, in which Python reports whatever imports, compiles, executes or starts something."""
    command = [sys.executable, "-c", FUZZ, str(HERE / "checkpoint_files.py"), str(tmp_path), "150"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen, kept = map(int, ran.stdout.split())
    assert seen == 4 * len(files.HARM) + 4 * 150
    assert kept >= 15  # the parameters beside most of the harm are whole


def test_the_audit_would_notice(tmp_path: Path) -> None:
    """The same test fails when a file is unpickled by Python."""
    run = "import pickle; pickle.loads(pickle.dumps(len)); raise WeightsError"
    broken = FUZZ.replace("read = weights.read(path)", run)
    assert broken != FUZZ
    command = [sys.executable, "-c", broken, str(HERE / "checkpoint_files.py"), str(tmp_path), "1"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode != 0 and "pickle.find_class" in ran.stderr


def test_names_of_modules_that_hold_the_harm_are_never_imported(tmp_path: Path) -> None:
    module = types.ModuleType("module_of_harm")
    path = files.save(tmp_path / "a.pth", {"w": torch.ones(2)}, "archive")
    with zipfile.ZipFile(path) as archive:
        records = {m.filename: archive.read(m) for m in archive.infolist()}
    main = next(name for name in records if name.endswith("data.pkl"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            extra = b"X\x01\x00\x00\x00ycmodule_of_harm\nrun\n)Rs."
            archive.writestr(name, data[:-1] + extra if name == main else data)
    assert module.__name__ not in sys.modules
    same(weights.read(path), {"w": torch.ones(2)})
    assert module.__name__ not in sys.modules
