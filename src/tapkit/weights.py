"""Checkpoints: where they lie, how they get there, and reading them without running anything in them.

Looked for in this order: the folder(s) in $TAPKIT_WEIGHTS, the user's cache, and then the authors' address. What is
downloaded is compared with the hash on the card, where one is known; its size and SHA-256 are noted in `index.json`
beside it and checked ever after.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from tapkit import download, jax_weights, storage, torch_weights
from tapkit.errors import WeightsError
from tapkit.types import BackboneFile, ModelCard

Report = download.Report
"""Called with bytes so far and bytes in all (None if unknown)."""

StateDict = dict[str, Tensor]

# Containers that training scripts wrap a state dict in, in the order in which they are tried.
_WRAPPERS = (
    "ema_model", "state_dict", "model_state_dict", "model_state", "model", "ema", "net", "network", "params", "module",
)  # fmt: skip
_DEEPEST = 8
"""Wrappers within wrappers: a file may contain itself."""


def cache_folder() -> Path:
    """$TAPKIT_CACHE, or the place for caches on this system."""
    if named := os.environ.get("TAPKIT_CACHE"):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "tapkit" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapkit"


def offline_folders() -> list[Path]:
    """The folders of $TAPKIT_WEIGHTS."""
    return [Path(part) for part in os.environ.get("TAPKIT_WEIGHTS", "").split(os.pathsep) if part]


def find(card: ModelCard) -> Path | None:
    """The checkpoint's path if it is on this machine, as published (in any format) or as safetensors; else None."""
    if card.weights_file is None:
        return None
    if card.weights_built_in:
        return _family_folder(card) / card.weights_file
    names = [card.weights_file, str(Path(card.weights_file).with_suffix(".safetensors")), *card.weights_md5]
    for folder in [*offline_folders(), cache_folder() / "weights"]:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def _family_folder(card: ModelCard) -> Path:
    """Where the package of the card's factory lies, found without importing it."""
    name = card.factory.partition(":")[0].rpartition(".")[0]
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise WeightsError(f"the weights of {card.id} should lie in the package {name!r}, which is not installed")
    return Path(next(iter(found.submodule_search_locations)))


def obtain(card: ModelCard, report: Report | None = None) -> Path:
    """The checkpoint's path; downloaded first if need be. Raises `WeightsError` with what to do by hand."""
    found = find(card)
    if found is None:
        found = _download(card, report)
    elif not card.weights_built_in:
        _check(card, found)
    return found


def _folder_by_hand() -> Path:
    """Where to put what a program cannot fetch."""
    return (offline_folders() or [cache_folder() / "weights"])[0]


def _by_hand(card: ModelCard) -> str:
    folder = _folder_by_hand()
    source = card.weights_url or "its authors"
    where = f"{folder} (or a folder named by $TAPKIT_WEIGHTS)"
    if card.weights_url and not card.weights_url.split("?")[0].endswith(f"/{card.weights_file}"):
        return f"fetch {source} and put it as {card.weights_file} into {where}"  # its own name may be that of others
    return f"fetch {card.weights_file} from {source} and put it into {where}"


def _download(card: ModelCard, report: Report | None) -> Path:
    assert card.weights_file is not None
    if card.weights_url is None:
        more = f" ({card.notes})" if card.notes else ""
        raise WeightsError(f"the weights of {card.id} cannot be downloaded by a program: {_by_hand(card)}{more}")
    target = cache_folder() / "weights" / card.weights_file
    try:
        lock = cache_folder() / "locks" / f"{target.name}.lock"  # stays; not among the weights
        for folder in (target.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            return find(card) or _fetch(card, target, report)  # another process may have fetched it meanwhile
    except OSError as error:
        raise WeightsError(f"the weights of {card.id} could not be stored: {error.strerror or error}") from error


def _fetch(card: ModelCard, target: Path, report: Report | None) -> Path:
    assert card.weights_url is not None
    partial = target.with_name(target.name + ".part")
    try:
        download.fetch(card.weights_url, partial, report)
    except download.BrokeOff as error:
        raise WeightsError(f"the download of {card.weights_file} {error}; try again") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(f"the weights of {card.id} could not be downloaded ({reason}): {_by_hand(card)}") from error
    except OSError as error:
        raise WeightsError(f"the weights of {card.id} could not be stored: {error.strerror or error}") from error
    if told := _another(card, target.name, partial):
        download.forget(partial)
        raise WeightsError(f"what {card.weights_url} sent is not the published file ({told}); try again")
    digest = sha256(partial)
    try:
        # Not `storage.atomic`: what a broken download has left is to stay, so that the next one resumes it.
        os.replace(partial, target)
        download.forget(partial)
        _note(target, digest)
    except OSError as error:
        raise WeightsError(f"the weights of {card.id} could not be stored: {error.strerror or error}") from error
    return target


def _another(card: ModelCard, name: str, path: Path) -> str:
    """How the file at `path` differs from what was published as `name`; empty if it does not, or nothing is known."""
    if card.weights_sha256 and name == card.weights_file and (digest := sha256(path)) != card.weights_sha256:
        return f"SHA-256 {digest[:12]}... instead of {card.weights_sha256[:12]}..."
    known = card.weights_md5.get(name)
    if known and (digest := _digest(path, "md5")) != known:
        return f"MD5 {digest[:12]}... instead of {known[:12]}..."
    return ""


def _index(path: Path) -> dict[str, Any]:
    try:
        return json.loads((path.parent / "index.json").read_text())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def _note(path: Path, digest: str) -> None:
    entries = {**_index(path), path.name: {"bytes": path.stat().st_size, "sha256": digest}}
    storage.write_text(path.parent / "index.json", json.dumps(entries, indent=1))


def _check(card: ModelCard, path: Path) -> None:
    """Raise if the file is not what was once downloaded (or what the card says it is)."""
    entry = _index(path).get(path.name, {})
    if "bytes" in entry and path.stat().st_size != entry["bytes"]:
        raise WeightsError(
            f"{path} has {path.stat().st_size} bytes, but had {entry['bytes']} when it was downloaded; "
            "delete it and try again"
        )
    expected = entry.get("sha256")
    if expected and sha256(path) != expected:
        raise WeightsError(
            f"{path} is damaged or is another file (its SHA-256 is not {expected[:12]}...); delete it and try again"
        )
    if not expected and (told := _another(card, path.name, path)):
        raise WeightsError(
            f"{path} is damaged or is not the published file ({told}); fetch it again, or give it as weights of your "
            "own (--weights) if it is meant to differ"
        )


def sha256(path: Path) -> str:
    """The file's hash, as hexadecimal digits."""
    return _digest(path, "sha256")


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def sha256_of(state: Mapping[str, Tensor]) -> str:
    """A hash of tensors and their names, for weights that come from memory."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def read(path: str | Path) -> StateDict:
    """The parameters in a checkpoint (.safetensors, of torch.save, .npy or .npz as JAX projects publish), by name.

    Nothing in it is run, and what training kept beside the parameters is not read (`tapkit.unpickle_tolerant`). The
    container that training scripts wrap a state dict in is removed; names stay as they are. Raises `WeightsError`.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if path.suffix in (".npy", ".npz"):
        return jax_weights.read(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise WeightsError(f"{path} cannot be read as weights: {reason[:200]}") from error
    else:
        content = torch_weights.read(path)
        state = torch_weights.opened(path, _state_dict(content, torch_weights.LazyTensor))
        if not state and (stranger := torch_weights.stranger(content)):
            raise WeightsError(f"{path} cannot be read as weights: it holds no tensors, but {stranger}")
    if not state:
        raise WeightsError(f"{path} holds no tensors")
    return state


def given_or_official(
    card: ModelCard, weights: str | Path | Mapping[str, Any] | None, report: Report | None = None
) -> tuple[Mapping[str, Any] | None, Path | None]:
    """The weights that somebody gave (a path, a state dict), or the official ones where the card needs any.

    -> the tensors, None if there are none; and the file that they came from, None for a state dict and where a backbone
    of another file had to be added. Raises `WeightsError`.
    """
    if isinstance(weights, Mapping):
        given = unwrap(weights) or weights
        for name, value in given.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise WeightsError(f"a state dict has names and tensors, but {name!r} has a {type(value).__name__}")
        return with_backbone(card, given), None
    if weights is None and not card.needs_weights:
        return None, None
    if not (weights is None or isinstance(weights, str | Path)):
        raise WeightsError(f"weights are the path of a file, a state dict, or None, not a {type(weights).__name__}")
    path = Path(weights) if weights is not None else obtain(card, report)
    state = read(path)
    whole = with_backbone(card, state)
    return whole, path if whole is state else None


def find_backbone(part: BackboneFile) -> Path | None:
    """Where a card's backbone file lies on this machine; None: nowhere."""
    places = [folder / part.file for folder in [*offline_folders(), cache_folder() / "weights"]]
    return next((path for path in places if path.is_file()), None)


def backbone_needed(card: ModelCard) -> str:
    """One sentence: which file a checkpoint lacks, from whom, under what licence, and where to put it."""
    part = card.backbone
    assert part is not None, f"{card.id} needs no backbone of others"
    return (
        f"the weights of {card.id} do not contain its backbone, {part.name}: fetch {part.source} "
        f"({part.licence}), and put it as {part.file} into {_folder_by_hand()} (or a folder named by $TAPKIT_WEIGHTS)"
    )


def with_backbone(card: ModelCard, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """`state` itself if it is complete, else with the tensors of the card's backbone file.

    Raises `WeightsError` that says what to fetch where the file is not on this machine.
    """
    part = card.backbone
    if part is None or any(part.prefix in name for name in state):
        return state
    path = find_backbone(part)
    if path is None:
        raise WeightsError(backbone_needed(card))
    return {**state, **{part.prefix + name: tensor for name, tensor in read(path).items()}}


def unwrap(content: Any) -> StateDict:
    """The state dict within what a training script saved; empty if there is none."""
    return _state_dict(content, Tensor)


def _state_dict(content: Any, kind: type[Any], depth: int = 0) -> dict[str, Any]:
    """The members of `kind` of the dict that holds the parameters, by name."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return {}
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping) and (inner := _state_dict(content[wrapper], kind, depth + 1)):
            return inner
    return {str(name): value for name, value in content.items() if isinstance(value, kind)}


def match(state: Mapping[str, Tensor], expected: Mapping[str, Any], model: str) -> StateDict:
    """`state`, if it holds exactly the tensors of `expected` (name -> tensor or shape), strictly both ways.

    Raises `WeightsError` that names what is missing, unexpected or of another shape.
    """
    shapes = {name: tuple(getattr(want, "shape", want)) for name, want in expected.items()}
    missing = [name for name in shapes if name not in state]
    unexpected = [name for name in state if name not in shapes]
    wrong = [name for name in shapes if name in state and tuple(state[name].shape) != shapes[name]]
    faults = []
    for word, names in (("lacks", missing), ("has besides", unexpected)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            faults.append(f"it {word} {', '.join(names[:3])}{more}")
    if wrong:
        name = wrong[0]
        faults.append(f"{name} is {list(state[name].shape)} instead of {list(shapes[name])}")
    if faults:
        raise WeightsError(f"these are not weights of {model}: {'; '.join(faults)}")
    return dict(state)
