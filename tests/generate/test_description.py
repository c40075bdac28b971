"""Scene descriptions: seeded, the same after JSON, refused in one sentence when they are wrong; the walk in numbers."""

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tapkit.generate.blender.gait import (
    closed_path,
    follow,
    human_turns,
    quaternions,
    schedule,
    turns_to_matrices,
)
from tapkit.generate.scene.catalogue import Catalogue
from tapkit.generate.scene.description import KINDS, SceneDescription, describe
from tapkit.generate.scene.plain import SceneError
from tapkit.generate.scene.records import Act, Gait
from tapkit.generate.scene.variety import counted, reachable


def glb(path, names=(), joints=()):
    """The smallest file with these actions and bones."""
    content = {
        "animations": [{"name": name} for name in names],
        "nodes": [{"name": joint} for joint in joints],
        "skins": [{"joints": list(range(len(joints)))}] if joints else [],
    }
    chunk = json.dumps(content).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 20 + len(chunk), len(chunk), b"JSON") + chunk)


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    limbs = ("UpperArm.L", "UpperArm.R", "UpperLeg.L", "UpperLeg.R")
    glb(folder / "models/fox.glb", ("Walk", "Idle", "Death"), ("Root",))
    glb(folder / "models/shark.glb", ("Swim",), ("Root",))
    glb(folder / "models/man.glb", (), limbs)
    glb(folder / "models/knight.glb", ("Walking_A", "T-Pose"), limbs)
    glb(folder / "models/cup.glb")
    glb(folder / "models/BirchTree.glb")
    glb(folder / "models/Chair.glb")
    for file in ("photos/a.jpg", "textures/grass.png", "hdri/dawn_512.hdr", "panoramas/dawn.jpg"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    return folder


def test_a_seed_gives_one_description_and_another_one_another(assets):
    for kind in KINDS:
        for folder in (None, assets):
            first = describe(kind, 3, 4, 60, (320, 180), 25, folder)
            assert first == describe(kind, 7, 0, 60, (320, 180), 25, folder)
            assert first != describe(kind, 8, 0, 60, (320, 180), 25, folder)
            assert (first.kind, first.seed, first.frames, first.width, first.height) == (kind, 7, 60, 320, 180)


def test_a_description_is_the_same_after_json_and_a_changed_one_is_another_scene(assets):
    catalogue = Catalogue.read(assets)
    for kind in KINDS:
        for seed in range(6):
            scene = describe(kind, seed, assets=catalogue)
            content = json.loads(json.dumps(scene.to_json()))
            assert SceneDescription.from_json(content) == scene
            content["world"]["strength"] = 2.5
            assert SceneDescription.from_json(content) == dataclasses.replace(
                scene, world=dataclasses.replace(scene.world, strength=2.5)
            )
            assert {thing.role for thing in scene.objects} >= {"checker", "prop"}


def test_without_assets_no_file_is_named():
    for kind in KINDS:
        text = json.dumps([describe(kind, seed).to_json() for seed in range(4)])
        assert not any(ending in text for ending in (".glb", ".jpg", ".png", ".hdr"))


def test_models_are_sorted_by_what_their_files_hold(assets):
    catalogue = Catalogue.read(assets)
    assert [model.name for model in catalogue.animals] == ["fox"]
    assert catalogue.animals[0].moving == ("Walk",)
    assert catalogue.animals[0].resting == ("Idle",), "nobody dies in a scene"
    assert [model.name for model in catalogue.swimmers] == ["shark"]
    assert [model.name for model in catalogue.people] == ["knight", "man"]
    assert [model.name for model in catalogue.props] == ["cup"]
    assert [model.name for model in catalogue.scenery] == ["birchtree"]
    assert [model.name for model in catalogue.furniture] == ["chair"]


def test_a_sky_is_seen_in_the_panorama_of_its_name(assets):
    worlds = [describe("outdoor", seed, assets=assets).world for seed in range(12)]
    assert {world.picture for world in worlds if world.light} == {"panoramas/dawn.jpg"}


def _object(content):
    return next(thing for thing in content["objects"] if thing["role"] == "prop")


WRONG = {
    "no field 'colour'": lambda c: c.update(colour=1),
    "lacks camera": lambda c: c.pop("camera"),
    "frames must be a whole number, got 2.5": lambda c: c.update(frames=2.5),
    "frames lies in 1 to 100000, got 0": lambda c: c.update(frames=0),
    "width must be a whole number, got '64'": lambda c: c.update(width="64"),
    "fps must be a finite number": lambda c: c.update(fps=float("nan")),
    "kind is one of outdoor, indoor, animals, toys, ego": lambda c: c.update(kind="moon"),
    "version 99": lambda c: c.update(version=99),
    "objects must be a list": lambda c: c.update(objects={}),
    "one object at least": lambda c: c.update(objects=[]),
    "two objects are named": lambda c: c["objects"].append(c["objects"][0]),
    "position must have 3 values, got 2": lambda c: c["camera"].update(position=[0, 1]),
    "rig is one of": lambda c: c["camera"].update(rig="drone"),
    "names its wearer": lambda c: c["camera"].update(rig="ego"),
    "not a humanoid of the scene": lambda c: c["camera"].update(rig="ego", wearer="ground"),
    "written from there, got '../secret.hdr'": lambda c: c["world"].update(light="../secret.hdr"),
    "written from there, got '/etc/passwd'": lambda c: c["world"].update(picture="/etc/passwd"),
    "pattern is one of": lambda c: _object(c)["material"].update(pattern="fur"),
    "only characters and animals walk": lambda c: _object(c)["motion"].update(how="walk", acts=[]),
    "a photo material names its picture": lambda c: _object(c)["material"].update(pattern="photo", picture=None),
    "strength lies in 0 to 100": lambda c: c["world"].update(strength=-1),
    "the scene: world must be an object with named fields, got None": lambda c: c.update(world=None),
    "does not lie within it": lambda c: c["room"]["windows"].append(
        {"wall": 0, "centre": 99, "sill": 1, "width": 1, "height": 1}
    ),
}


@pytest.mark.parametrize("says", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(says):
    content = json.loads(json.dumps(describe("indoor", 1).to_json()))
    WRONG[says](content)
    with pytest.raises(SceneError) as error:
        SceneDescription.from_json(content)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_object_or_no_folder_is_refused(tmp_path):
    for content in ([], None, "scene", 3):
        with pytest.raises(SceneError, match="must be an object"):
            SceneDescription.from_json(content)
    with pytest.raises(SceneError, match="not a folder of assets"):
        describe("toys", 0, assets=tmp_path / "nothing")
    with pytest.raises(SceneError, match="kind is one of"):
        describe("moon", 0)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/broken.glb").write_bytes(b"glTF")
    with pytest.raises(SceneError, match="cannot be read as a GLB model"):
        describe("toys", 0, assets=tmp_path)


def test_variety_is_counted_from_descriptions():
    scenes = [describe("toys", seed) for seed in range(3)]
    counts = counted(scenes)
    assert counts["scenes"] == 3
    assert counts["skies"] == 3, "of three seeds"
    assert counts["objects"] == sum(len(scene.objects) for scene in scenes)
    nothing = reachable(Catalogue())
    assert nothing["animals of files"] == 0
    assert nothing["humanoid bodies"] >= 42


def test_acts_follow_one_another_and_their_shares_sum_to_one():
    acts = (Act("walk", 1.0), Act("wave", 0.5, travels=False), Act("walk", 1.0))
    distinct, weights = schedule(acts, 120, 30.0, 1.0)
    assert [act.what for act in distinct] == ["walk", "wave"]
    assert np.allclose(weights.sum(0), 1)
    assert weights[0, 0] == 1
    assert weights[1, 37] > 0.9, "it waves in the middle of its half second"
    assert weights[0, 75] > 0.99, "then it walks again, also over the end of the list"


def test_turns_are_rotations_and_their_quaternions_the_same():
    turns = np.random.default_rng(0).uniform(-179, 179, (200, 3))
    matrices = turns_to_matrices(turns)
    assert np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=1e-12)
    w, x, y, z = np.moveaxis(quaternions(matrices), -1, 0)
    vector = np.array([0.3, -0.8, 0.5])
    axis = np.stack([x, y, z], -1)
    crossed = np.cross(axis, vector)
    turned = vector + 2 * (w[:, None] * crossed + np.cross(axis, crossed))
    assert np.allclose(turned, matrices @ vector, atol=1e-9)


def test_a_walk_swings_legs_in_turn_and_arms_against_them():
    turns = human_turns("walk", Gait(frequency=1.0, phase=0.0), 30, 30.0, 1.0, 0)
    left, right = turns["UpperLeg.L"][:, 0], turns["UpperLeg.R"][:, 0]
    assert np.corrcoef(left, right)[0, 1] < -0.8
    assert np.corrcoef(left, turns["UpperArm.L"][:, 0])[0, 1] < -0.8
    assert (turns["LowerLeg.L"][:, 0] >= 0).all(), "knees bend backwards only"


def test_a_path_is_closed_and_walked_at_even_speed():
    points = np.array([[1.0, 0, 0], [0, 2, 0], [-1, 0, 0], [0, -1, 0]])
    assert np.allclose(closed_path(points)[::64], points)
    position, direction = follow(points, np.linspace(0, 30, 400))
    steps = np.linalg.norm(np.diff(position, axis=0), axis=1)
    assert steps.max() <= 30 / 399 * 1.001
    assert steps.min() > 30 / 399 * 0.9
    assert np.allclose(np.linalg.norm(direction, axis=1), 1)


def test_the_example_of_the_documentation_is_a_scene():
    page = (Path(__file__).parents[2] / "docs/reference/scene.md").read_text()
    scene = SceneDescription.from_json(json.loads(page.split("```json")[1].split("```")[0]))
    assert [thing.name for thing in scene.objects] == ["ground", "box", "checker"]
