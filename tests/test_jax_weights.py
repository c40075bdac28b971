"""Reading JAX checkpoints: plain containers of arrays, and nothing else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit import jax_weights
from tapkit.errors import WeightsError

CONTENT = {
    "params": {"tap/~/conv": {"w": np.arange(6.0).reshape(2, 3), "b": np.float32(2)}},
    "state": {"ema": {"x": np.ones(2)}},
}


def saved(path: Path, content: object) -> Path:
    """As the authors save: a dictionary in a 0-dimensional object array."""
    array = np.empty((), dtype=object)
    array[()] = content
    np.save(path, array, allow_pickle=True)
    return path


def test_nested_dictionaries_become_flat_names(tmp_path: Path) -> None:
    tensors = jax_weights.read(saved(tmp_path / "a.npy", CONTENT))
    assert sorted(tensors) == ["ema/x", "tap/~/conv/b", "tap/~/conv/w"]
    assert torch.equal(tensors["tap/~/conv/w"], torch.arange(6.0, dtype=torch.float64).view(2, 3))


def test_a_flat_npz_keeps_its_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"backbone/kernel": np.ones((2, 2), np.float32)})
    assert jax_weights.read(tmp_path / "a.npz")["backbone/kernel"].shape == (2, 2)


@pytest.mark.parametrize("home", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_files_written_by_either_numpy_are_read(tmp_path: Path, home: bytes) -> None:
    array = np.empty((), dtype=object)
    array[()] = {"m": {"w": np.ones(3, np.float32)}}
    content = pickle.dumps(array, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(content.replace(b"numpy.core.multiarray", home))
    assert torch.equal(jax_weights.read(tmp_path / "a.npy")["m/w"], torch.ones(3))


class Hostile:
    """Its pickle runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_a_pickle_that_runs_something_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = saved(tmp_path / "a.npy", {"params": {"m": {"w": Hostile(f"touch {trace}")}}})
    with pytest.raises(WeightsError, match=r"asks for \w+\.system, which is neither an array nor a plain container"):
        jax_weights.read(path)
    assert not trace.exists()


def test_a_pickle_of_hidden_globals_is_refused(tmp_path: Path) -> None:
    """An array whose pickle rebuilds it through a function that is not numpy's."""
    path = saved(tmp_path / "a.npy", {"m": eval})
    with pytest.raises(WeightsError, match=r"builtins\.eval"):
        jax_weights.read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"m": {"w": "text"}}, "no array of numbers"), ([1, 2], "not a dictionary"), ({}, "holds no arrays")],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        jax_weights.read(saved(tmp_path / "a.npy", content))


def test_damaged_missing_and_plain_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        jax_weights.read(tmp_path / "a.npy")
    path = saved(tmp_path / "a.npy", CONTENT)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        jax_weights.read(path)
    np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(WeightsError, match="a single array"):
        jax_weights.read(tmp_path / "b.npy")
    (tmp_path / "c.npz").write_bytes(pickle.dumps({}))
    with pytest.raises(WeightsError, match="cannot be read"):
        jax_weights.read(tmp_path / "c.npz")
