"""One small scene built by Blender itself; `python tools/blender_venv.py` makes the environment for it."""

import dataclasses
import json
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tapkit.generate.scene.description import SceneDescription, describe
from tapkit.generate.scene.records import Act, Camera, Effects, Material, Motion, SceneObject, Shape

ROOT = Path(__file__).parents[2]
BLENDER = ROOT / ".venv-blender/bin/python"
FRAMES = 16
DRIVER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bpy, numpy as np
from blender.build import build
content, out = json.loads(Path(sys.argv[2]).read_text()), {}
built = build(content)
for visit, frame in enumerate([*range(1, content["frames"] + 1), 5]):
    bpy.context.scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    for thing, role in built.tracked:
        posed = thing.evaluated_get(graph)
        points = np.empty(len(posed.data.vertices) * 3, dtype=np.float32)
        posed.data.vertices.foreach_get("co", points)
        matrix = np.array(posed.matrix_world)
        out.setdefault(thing.name, []).append(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    out.setdefault("camera", []).append(np.array(built.camera.evaluated_get(graph).matrix_world))
np.savez(sys.argv[3], **{name: np.stack(frames) for name, frames in out.items()})
print(json.dumps([[thing.name, role, thing.pass_index] for thing, role in built.tracked]))
try:
    content["world"]["light"] = "hdri/nowhere.hdr"
    build(content, Path("/nowhere"))
except ValueError as error:
    print(error)
"""


def small_scene() -> SceneDescription:
    """A bit of everything, without renderings: the exposure is given."""
    plain, loop = Material("noise", repeats=4.0), ((0.9, 0, 0), (0, 0.9, 0), (-0.9, 0, 0), (0, -0.9, 0))
    walk = Motion("walk", loop, (Act("walk", 5.0),))
    robot = Motion("walk", (), (Act("sit", 5.0, travels=False),))
    fall = Motion("fall", velocity=(0.6, 0.0, 0.0))

    def thing(
        name: str, role: str, shape: Shape, *, at: tuple = (0, 0, 0), motion: Motion | None = None
    ) -> SceneObject:
        return SceneObject(name, role, shape, plain, at, second=plain, motion=motion or Motion())

    objects = (
        thing("ground", "ground", Shape("ground", 40.0)),
        thing("person", "character", Shape("humanoid", 1.7, body=3), motion=walk),
        thing("robot", "character", Shape("robot", 1.6, body=4), at=(3, 0, 0), motion=robot),
        thing("dog", "animal", Shape("quadruped", 1.2, body=5), motion=walk),
        thing("box", "prop", Shape("box", 0.3), at=(2, 2, 1.0), motion=fall),
        thing("table", "static", Shape("table", 1.4, body=1), at=(-3, 0, 0)),
        thing("cloth", "prop", Shape("cloth", 0.8), at=(-3, 0, 0.95), motion=Motion("cloth")),
        thing("checker", "checker", Shape("sphere", 0.3), at=(1, -1, 0)),
    )
    scene = describe("outdoor", 0, frames=FRAMES, size=(64, 64))
    camera = Camera("handheld", (4.0, -3.0, 1.5), seed=1)
    return dataclasses.replace(scene, objects=objects, camera=camera, effects=Effects(exposure=0.0), lights=())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], list, str]:
    """Positions [FRAMES + 1, V, 3] by object: 1.. then 5 again; the objects; what is said of a missing file."""
    if not BLENDER.exists():
        pytest.skip("Blender is not there: python tools/blender_venv.py")
    folder = tmp_path_factory.mktemp("built")
    (folder / "driver.py").write_text(DRIVER)
    (folder / "scene.json").write_text(json.dumps(small_scene().to_json()))
    command = [BLENDER, folder / "driver.py", ROOT / "src/tapkit/generate", folder / "scene.json", folder / "built.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    *_, objects, refusal = done.stdout.strip().splitlines()
    with np.load(folder / "built.npz") as arrays:
        return dict(arrays), json.loads(objects), refusal


def test_what_is_tracked_has_its_role_and_an_index_of_its_own(built: tuple) -> None:
    _, objects, _ = built
    wanted = [(thing.name, thing.role) for thing in small_scene().objects]
    assert [(name, role) for name, role, _ in objects] == wanted
    assert sorted(index for *_, index in objects) == list(range(1, len(wanted) + 1))


def test_a_frame_is_the_same_whenever_it_is_asked_for(built: tuple) -> None:
    for name, positions in built[0].items():
        assert np.array_equal(positions[4], positions[FRAMES]), name
        assert np.isfinite(positions).all()


def test_feet_stand_on_the_ground_and_one_of_them_does_not_slide(built: tuple) -> None:
    for name in ("person", "dog"):
        points = built[0][name][:FRAMES]
        assert np.abs(points[..., 2].min(1)).max() < 0.01, "neither sunk nor in the air"
        standing = [(a[:, 2] < 0.03) & (b[:, 2] < 0.03) for a, b in pairwise(points)]
        slides = [
            np.quantile(np.linalg.norm(b[s, :2] - a[s, :2], axis=1), 0.1)
            for (a, b), s in zip(pairwise(points), standing, strict=True)
        ]
        goes = np.linalg.norm(points[-1, :, :2].mean(0) - points[0, :, :2].mean(0))
        assert goes > 0.1
        assert np.median(slides) < 0.35 * goes / FRAMES, (name, slides, goes)


def test_bodies_are_as_tall_as_described_and_sit_lower(built: tuple) -> None:
    person, robot = built[0]["person"], built[0]["robot"]
    assert 1.55 < np.ptp(person[0, :, 2]) < 1.75
    assert np.ptp(robot[0, :, 2]) < 1.35
    assert np.allclose(robot[0, :, :2].mean(0), [3, 0], atol=0.4)


def test_the_box_starts_with_its_velocity_and_falls(built: tuple) -> None:
    middle = built[0]["box"][:FRAMES].mean(1)
    time = np.arange(FRAMES) / 30
    assert np.abs(middle[:, 0] - 2 - 0.6 * time).max() < 0.03
    assert middle[-1, 2] == pytest.approx(1.0 - 9.81 / 2 * (time[-1] - 2 / 30) ** 2, abs=0.12)
    assert np.allclose(middle[:, 1], 2, atol=0.01)


def test_the_cloth_drapes_over_the_table(built: tuple) -> None:
    cloth, table = built[0]["cloth"], built[0]["table"]
    assert cloth.shape[1] == 29 * 29
    assert np.ptp(cloth[0, :, 2]) < 0.01
    assert cloth[FRAMES - 1, :, 2].min() < cloth[0, :, 2].min() - 0.1
    assert cloth[FRAMES - 1, :, 2].max() > table[0, :, 2].max() - 0.01


def test_the_camera_moves_and_sees_the_middle(built: tuple) -> None:
    camera = built[0]["camera"][:FRAMES]
    towards = np.array([0, 0, 0.8]) - camera[:, :3, 3]
    view = -camera[:, :3, 2]
    cosine = (towards * view).sum(1) / np.linalg.norm(towards, axis=1)
    assert cosine.min() > 0.9
    assert np.linalg.norm(camera[-1, :3, 3] - camera[0, :3, 3]) > 0.05


def test_a_missing_file_is_named_in_one_sentence(built: tuple) -> None:
    assert built[2] == "/nowhere/hdri/nowhere.hdr is not there or cannot be read as a picture"
