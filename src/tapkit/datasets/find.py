"""Which benchmark is it? By name, or by what lies in the folder.

Other packages add readers through the entry-point group `tapkit.datasets`: each entry point is a function that takes a
path and returns a `Dataset`, or None where it does not recognise what lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from tapkit import plugins, storage
from tapkit.datasets.badja import Badja
from tapkit.datasets.base import Dataset
from tapkit.datasets.crohd import TRUTH, CroHD
from tapkit.datasets.csv_tracks import CsvTracks
from tapkit.datasets.dynamic_replica import DynamicReplica
from tapkit.datasets.egopoints import ANNOTATION, EgoPoints
from tapkit.datasets.folder import TRACKS, FolderDataset
from tapkit.datasets.itto import Itto
from tapkit.datasets.kubric_folders import KubricFolders
from tapkit.datasets.movi import Movi
from tapkit.datasets.pointodyssey import ANNOTATIONS, PointOdyssey
from tapkit.datasets.tapvid import TapVidPickles
from tapkit.datasets.tiny import TinyDataset
from tapkit.errors import StorageError

PICKLES = (
    ("tapvid_davis*.pkl", "TAP-Vid DAVIS"),
    ("tapvid_rgb_stacking*.pkl", "TAP-Vid RGB-Stacking"),
    ("robotap*.pkl", "RoboTAP"),
    ("*_of_0010.pkl", "TAP-Vid Kinetics"),
    ("*.pkl", "TAP-Vid pickles"),
)
GROUP = "tapkit.datasets"
Maker = Callable[[Path], Dataset | None]


def open_dataset(where: str | Path) -> Dataset:
    """The benchmark at `where`: "tiny" (comes with tapkit), or a file or folder as released.

    "NAME:PATH" asks the reader NAME of another package; without a name, such readers are asked after tapkit's own.
    Raises `StorageError` with what would be recognised if nothing is.
    """
    if str(where) == "tiny":
        return TinyDataset()
    name, colon, rest = str(where).partition(":")
    if colon and name in _plugins():
        return _of_plugin(name, Path(rest))
    path = Path(where)
    with storage.reading(str(path)[:200], "the name of a file"):
        if not path.exists():
            raise StorageError(f"{path} does not exist; a benchmark is a folder or file, or 'tiny'")
        storage.check_file(path)
    theirs = tuple(_plugins().values())
    makers = (_file, *theirs) if path.is_file() else (*_FOLDERS, *theirs, _csv)  # any .csv would do for the last
    for make in makers:
        with storage.reading(path, "a benchmark that tapkit knows"):
            dataset = make(path)
        if dataset is not None:
            return dataset
    more = f", or what {', '.join(_plugins())} can read" if _plugins() else ""
    if path.is_file():
        hint = "; unpack it first" if path.suffix in (".zip", ".gz", ".tar") else ""
        raise StorageError(f"{path} is no benchmark file that tapkit knows (.pkl, .csv, .tfrecord){more}{hint}")
    raise StorageError(
        f"{path} holds no benchmark that tapkit knows: TAP-Vid or RoboTAP pickles, TAP-Vid CSV labels, MOVi .tfrecord "
        f"files, Kubric folders, PointOdyssey, Dynamic Replica, BADJA, EgoPoints, CroHD, ITTO, "
        f"or folders with {TRACKS}{more}"
    )


@cache
def _plugins() -> dict[str, Maker]:
    return dict(plugins.load(GROUP))


def _of_plugin(name: str, path: Path) -> Dataset:
    if not path.exists():
        raise StorageError(f"{path} does not exist")
    with storage.reading(path, f"what {name} reads"):
        dataset: Dataset | None = _plugins()[name](path)
    if dataset is None:
        raise StorageError(f"{path} holds nothing that {name} recognises")
    return dataset


def _file(path: Path) -> Dataset | None:
    if path.suffix == ".pkl":
        name = next(name for pattern, name in PICKLES if path.match(pattern))
        return TapVidPickles([path], name)
    if path.suffix == ".csv":
        return _labels(path)
    if ".tfrecord" in path.name:
        return Movi(path)
    return None


def _labels(path: Path) -> Dataset:
    """Kinetics rows have an id, two numbers and triples: a number of fields that is a multiple of three."""
    with open(path, "rb") as file:
        fields = file.readline().count(b",") + 1
    return CsvTracks(path, kinetics=fields % 3 == 0 or "kinetics" in path.name)


def _pickles(folder: Path) -> Dataset | None:
    for pattern, name in PICKLES:
        files = sorted(folder.glob(pattern))
        if files:
            return TapVidPickles(files, name)
    return None


def _csv(folder: Path) -> Dataset | None:
    files = sorted(p for p in folder.glob("*.csv"))
    return _labels(files[0]) if files else None


def _if(pattern: str, make: Callable[[Path], Dataset]) -> Maker:
    return lambda folder: make(folder) if next(folder.glob(pattern), None) is not None else None


def _kubric(folder: Path) -> Dataset | None:
    named = (p for p in folder.glob("*/*.npy") if p.stem == p.parent.name)
    return KubricFolders(folder) if next(named, None) is not None else None


_FOLDERS: tuple[Maker, ...] = (
    _if(TRACKS, FolderDataset),
    _if(f"*/{TRACKS}", FolderDataset),
    _pickles,
    _if("frame_annotations_*.jgz", DynamicReplica),
    _if("joint_annotations/*.json", Badja),
    *(_if(f"*/{name}", PointOdyssey) for name in ANNOTATIONS),
    _if(f"*/{ANNOTATION}", EgoPoints),
    _if(f"*/{TRUTH}", CroHD),
    _if(f"train/*/{TRUTH}", lambda folder: CroHD(folder / "train")),
    _if("annotations/*/*_random.npy", Itto),
    _if("*/annotations/*/*_random.npy", Itto),
    _kubric,
    _if("**/*.tfrecord*", Movi),
)
