"""What an assets folder offers: pictures, skies and models, the last sorted by what their files say."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .plain import SceneError

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
MOVING = re.compile(
    r"walk|run|gallop(?!_jump)|sneak|swim(?!ming_impulse)|fl(y|ap|ying)|glide|side.?winding", re.IGNORECASE
)
RESTING = re.compile(
    r"idle|eating|survey|sit|bark|bite|howl|attack|dance|cheer|headbutt|kick|wave|interact|jump(?!_to|_full)|coiled|block",
    re.IGNORECASE,
)
NEVER = re.compile(r"death|pose|hit|out_of_water", re.IGNORECASE)
WATER = ("fish", "shark", "koi", "tang", "puffer", "dolphin", "manta", "whale")
AIR = ("bird", "dragon", "wasp")
FURNITURE = ("bathtub", "bed", "bookshelf", "chair", "couch", "table", "desk", "sofa", "shelf", "wardrobe")
PLANTS = ("tree", "bush", "cactus", "plant", "tent", "boat", "ship")
SIZES = {
    "alpaca": 1.9, "deer": 1.9, "horse": 2.5, "husky": 1.3, "shiba": 1.1, "fox": 1.2, "cat": 0.6, "bird": 0.9,
    "dragon": 2.6, "spider": 0.9, "snake": 1.6, "frog": 0.7, "wasp": 0.7, "apatosaurus": 3.0, "stegosaurus": 2.4,
    "trex": 2.5, "velociraptor": 1.9, "shark": 2.0, "dolphin": 2.1, "manta": 2.2, "whale": 3.4, "fish": 0.7,
    "koi": 0.7, "tang": 0.6, "puffer": 0.6, "bathtub": 1.7, "bed": 2.1, "bookshelf": 2.0, "chair": 0.95,
    "couch": 2.6, "tree": 4.5, "bush": 1.1, "cactus": 0.6, "tent": 2.6, "boat": 2.4, "ship": 3.0, "knight": 1.75,
}  # fmt: skip
"""Longest side in metres of what has a usual size, by a part of the file's name."""


@dataclass(frozen=True)
class Model:
    """One .glb file."""

    file: str
    size: float
    """Longest side, metres; 0: no usual size."""
    moving: tuple[str, ...] = ()
    """Actions in which it gets along."""
    resting: tuple[str, ...] = ()
    human: bool = False
    """It has a skeleton with upper arms and legs."""

    @property
    def name(self) -> str:
        """Of the file, in small letters."""
        return Path(self.file).stem.lower()

    def of(self, words: tuple[str, ...]) -> bool:
        """Whether its name holds one of `words`."""
        return any(word in self.name for word in words)


@dataclass(frozen=True)
class Catalogue:
    """Files by use, named from the assets folder, sorted. All empty: everything is procedural."""

    people: tuple[Model, ...] = ()
    """Human skeletons: with actions of their own, or moved by the gait."""
    animals: tuple[Model, ...] = ()
    swimmers: tuple[Model, ...] = ()
    fliers: tuple[Model, ...] = ()
    furniture: tuple[Model, ...] = ()
    scenery: tuple[Model, ...] = ()
    props: tuple[Model, ...] = ()
    photos: tuple[str, ...] = ()
    textures: tuple[str, ...] = ()
    skies: tuple[str, ...] = ()
    panoramas: tuple[str, ...] = ()

    @classmethod
    def read(cls, assets: Path | None) -> Catalogue:
        """List a folder with `models`, `photos`, `textures`, `hdri` and `panoramas` in it, as far as they are there.

        Raises:
            SceneError: no such folder, or a model in it that is not a GLB file.
        """
        if assets is None:
            return cls()
        if not assets.is_dir():
            raise SceneError(f"{assets} is not a folder of assets")
        models = [read_model(assets, file) for file in _files(assets, "models", (".glb",))]
        animated = [model for model in models if model.moving or model.resting]
        still = [model for model in models if not model.moving and not model.resting and not model.human]
        beasts = [model for model in animated if not model.human]
        return cls(
            people=tuple(model for model in models if model.human),
            animals=tuple(model for model in beasts if model.moving and not model.of(WATER + AIR)),
            swimmers=tuple(model for model in beasts if model.of(WATER) and model.moving),
            fliers=tuple(model for model in beasts if model.of(AIR) and model.moving),
            furniture=tuple(model for model in still if model.of(FURNITURE)),
            scenery=tuple(model for model in still if model.of(PLANTS)),
            props=tuple(model for model in still if not model.of((*FURNITURE, *PLANTS, "_model-", "portal"))),
            photos=_files(assets, "photos", PICTURES),
            textures=_files(assets, "textures", PICTURES),
            skies=_files(assets, "hdri", (".hdr", ".exr")),
            panoramas=_files(assets, "panoramas", PICTURES),
        )


def _files(assets: Path, folder: str, endings: tuple[str, ...]) -> tuple[str, ...]:
    found = (path for path in (assets / folder).glob("*") if path.suffix.lower() in endings and path.is_file())
    return tuple(sorted(path.relative_to(assets).as_posix() for path in found))


def read_model(assets: Path, file: str) -> Model:
    """What the JSON part of a GLB file says about its skeleton and its actions."""
    try:
        with (assets / file).open("rb") as opened:
            magic, _, _, length, kind = struct.unpack("<4sIII4s", opened.read(20))
            if magic != b"glTF" or kind != b"JSON":
                raise ValueError("no glTF header")
            content = json.loads(opened.read(length))
        names = [str(action.get("name", "")) for action in content.get("animations", ())]
        nodes = content.get("nodes", ())
        bones = {
            str(nodes[joint].get("name", "")).lower() for skin in content.get("skins", ()) for joint in skin["joints"]
        }
    except (OSError, ValueError, struct.error, LookupError, AttributeError, TypeError) as error:
        raise SceneError(f"{assets / file} cannot be read as a GLB model ({error})") from None
    words = Path(file).stem.lower()
    usable = [name for name in names if not NEVER.search(name)]
    moving = tuple(sorted(name for name in usable if MOVING.search(name)))
    return Model(
        file=file,
        size=next((size for word, size in SIZES.items() if word in words), 0.0),
        moving=moving,
        resting=tuple(sorted(name for name in usable if RESTING.search(name) and name not in moving)),
        human={"upperarm.l", "upperarm.r", "upperleg.l", "upperleg.r"} <= bones,
    )
