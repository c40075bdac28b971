"""Bodies that walk: skins and animations of GLB files against formulas, and what is made of them in clips."""

import dataclasses
import json
import math
import struct

import numpy as np
import pytest
import torch

from tapkit.errors import StorageError
from tapkit.synth.batch import ClipMaker
from tapkit.synth.bodies import KEPT_FACES, SWAYS, Body, _joined, built_in_bodies, load_bodies
from tapkit.synth.config import SynthConfig
from tapkit.synth.dice import Dice
from tapkit.synth.gaits import Stride, gait_of, random_stride, smooth_normals
from tapkit.synth.layers import random_layers
from tapkit.synth.motion import random_motion
from tapkit.synth.photos import PhotoBank
from tapkit.synth.rigs import MOMENTS, SWAY, read_rig
from tapkit.synth.shapes import ShapeBank
from tapkit.synth.solids import SurfacePoints, follow, random_solid, view

HALF_TURN = math.pi / 2
"""By how much the upper bone of the test's model turns."""
SIDES = np.array([[-0.2, -0.3], [0.2, -0.3], [0.2, 0.3], [-0.2, 0.3]])


def tube() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed square tube along y, two segments long -> vertices [12,3], triangles [20,3], weights of bones [12,2]."""
    places = np.concatenate([np.insert(SIDES, 1, height, axis=1) for height in (0.0, 1.0, 2.0)]).astype(np.float32)
    faces = []
    for low in (0, 4):
        for i in range(4):
            a, b, c, d = low + i, low + (i + 1) % 4, low + 4 + i, low + 4 + (i + 1) % 4
            faces += [[a, c, b], [b, c, d]]
    faces += [[0, 1, 2], [0, 2, 3], [8, 10, 9], [8, 11, 10]]
    weights = np.repeat(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.float32), 4, 0)
    return places, np.array(faces, np.uint16), weights


def turning(key_times=(0.0, 1.0), angles=(0.0, HALF_TURN), how="LINEAR"):
    """Keys of the upper bone's rotation about z."""
    values = [[0, 0, math.sin(angle / 2), math.cos(angle / 2)] for angle in angles]
    return {"path": "rotation", "times": key_times, "values": values, "how": how}


def write_model(path, channel, change=None, skinned=True) -> None:
    """The tube on two bones below a node that is twice as large and elsewhere; `channel` moves the upper bone."""
    places, faces, weights = tube()
    joints = np.tile(np.array([[0, 1, 0, 0]], np.uint8), (12, 1))
    bind = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    bind[1, 1, 3] = -1
    arrays = [
        (places, "VEC3"),
        (faces.reshape(-1), "SCALAR"),
        (joints, "VEC4"),
        (np.pad(weights, ((0, 0), (0, 2))), "VEC4"),
        (bind.transpose(0, 2, 1).reshape(2, 16), "MAT4"),
    ]
    if channel:
        values = np.array(channel["values"], np.float32)
        arrays += [
            (np.array(channel["times"], np.float32), "SCALAR"),
            (values, "VEC4" if values.shape[1] == 4 else "VEC3"),
        ]
    codes = {"float32": 5126, "uint16": 5123, "uint8": 5121}
    binary, views, accessors = b"", [], []
    for index, (array, kind) in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        accessors.append(
            {"bufferView": index, "componentType": codes[str(array.dtype)], "count": len(array), "type": kind}
        )
        binary += array.tobytes() + b"\0" * (-array.nbytes % 4)
    accessors[0] |= {"min": places.min(0).tolist(), "max": places.max(0).tolist()}
    attributes = {"POSITION": 0} | ({"JOINTS_0": 2, "WEIGHTS_0": 3} if skinned else {})
    mesh = {"mesh": 0} | ({"skin": 0, "translation": [9, 9, 9]} if skinned else {})
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 3]} if skinned else {"nodes": [0]}],
        "nodes": [
            {"children": [1], "scale": [2, 2, 2], "translation": [5, 0, 0]},
            {"children": [2]},
            {"translation": [0, 1, 0]} | ({} if skinned else {"children": [3]}),
            mesh,
        ],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 1}]}],
        "skins": [{"joints": [1, 2], "inverseBindMatrices": 4}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    if channel:
        sampler = {"input": 5, "output": 6, "interpolation": channel["how"]}
        target = {"node": 2, "path": channel["path"]}
        tree["animations"] = [{"name": "wave", "samplers": [sampler], "channels": [{"sampler": 0, "target": target}]}]
    if change:
        change(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)


def bent(angle: float, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Where the vertices of the model are when its upper bone is turned by `angle` and moved from its place."""
    places, _, weights = tube()
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    joint = np.array([0.0, 1.0, 0.0])
    upper = (places - joint) @ turn.T + joint + np.array(shift)
    return 2 * (weights[:, :1] * places + weights[:, 1:] * upper) + np.array([5.0, 0.0, 0.0])


def test_vertices_follow_their_bones_and_the_node_of_the_mesh_plays_no_part(tmp_path):
    write_model(tmp_path / "a.glb", turning())
    rig = read_rig(tmp_path / "a.glb")
    (limb,) = rig.limbs
    assert rig.names == ("0 wave",) and limb.faces.shape == (20, 3)
    truth = np.stack([bent(HALF_TURN * k / (MOMENTS - 1)) for k in range(MOMENTS)])
    assert np.abs(limb.moments[0] - truth).max() < 1e-5


def test_a_mesh_without_skin_hangs_on_its_node(tmp_path):
    write_model(tmp_path / "a.glb", turning(), skinned=False)
    (limb,) = read_rig(tmp_path / "a.glb").limbs
    places = tube()[0]
    for k in (0, 9, MOMENTS - 1):
        angle = HALF_TURN * k / (MOMENTS - 1)
        turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
        truth = 2 * (places @ turn.T + [0, 1, 0]) + [5, 0, 0]
        assert np.abs(limb.moments[0][k] - truth).max() < 1e-5


def test_steps_hold_and_cubic_splines_are_cubic(tmp_path):
    write_model(tmp_path / "a.glb", turning((0.0, 0.5, 1.0), (0.0, 0.4, 1.0), "STEP"))
    moments = read_rig(tmp_path / "a.glb").limbs[0].moments[0]
    for k in range(MOMENTS):
        angle = (0.0, 0.4, 1.0)[int(2 * k / (MOMENTS - 1))]
        assert np.abs(moments[k] - bent(angle)).max() < 1e-5
    # A spline through t^3 with its slopes is t^3: in-tangent, value, out-tangent of each key.
    keys = [0.0, 0.5, 1.0]
    values = [[x, 1.0, 0.0] if x == t**3 else [x, 0.0, 0.0] for t in keys for x in (3 * t * t, t**3, 3 * t * t)]
    values = [[v[0], float(i % 3 == 1), 0.0] for i, v in enumerate(values)]
    write_model(tmp_path / "a.glb", {"path": "translation", "times": keys, "values": values, "how": "CUBICSPLINE"})
    moments = read_rig(tmp_path / "a.glb").limbs[0].moments[0]
    for k in range(MOMENTS):
        assert np.abs(moments[k] - bent(0.0, ((k / (MOMENTS - 1)) ** 3, 0, 0))).max() < 1e-5


def test_at_rest_a_model_is_the_same_whether_it_can_move_or_not(tmp_path, monkeypatch):
    pytest.importorskip("trimesh")
    for name, channel in (("still", None), ("walks", turning())):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name / "a.glb", channel)
    (walks,), (sways,) = load_bodies(tmp_path / "walks"), load_bodies(tmp_path / "still")
    monkeypatch.setattr("tapkit.synth.bodies.SWAYS", 0)
    (still,) = load_bodies(tmp_path / "still")
    assert read_rig(tmp_path / "still" / "a.glb") is None and still.gaits == () and still.vertex is None
    assert len(walks.gaits) == 1 and len(sways.gaits) == SWAYS
    for other in (walks, sways):
        assert torch.equal(still.corners, other.corners) and torch.equal(still.uv, other.uv)


def test_made_up_gaits_swing_joints_that_hang_on_joints_and_end_where_they_begin(tmp_path):
    write_model(tmp_path / "a.glb", None)
    rig = read_rig(tmp_path / "a.glb", sways=3)
    places = tube()[0]
    for moments in rig.limbs[0].moments:
        assert np.abs(moments[0] - moments[-1]).max() < 1e-5
        assert np.abs(moments[:, :4] - (2 * places[:4] + [5, 0, 0])).max() < 1e-5
        # The upper end turns about the joint: as far from it as ever, by at most twice the largest angle.
        upper, joint = moments[:, 8:] - [5, 2, 0], 2 * (places[8:] - [0, 1, 0])
        assert np.abs(np.linalg.norm(upper, axis=-1) - np.linalg.norm(joint, axis=-1)).max() < 1e-5
        cosine = (upper * joint).sum(-1) / np.square(np.linalg.norm(joint, axis=-1))
        assert cosine.min() > math.cos(2 * SWAY)
    moved = [np.abs(moments - moments[0]).max() for moments in rig.limbs[0].moments]
    assert max(moved) > 0.05 and len(set(moved)) == 3
    again = read_rig(tmp_path / "a.glb", sways=3)
    assert all(np.array_equal(a, b) for a, b in zip(rig.limbs[0].moments, again.limbs[0].moments, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["accessors"][6].update(count=900),
        lambda tree: tree["accessors"][6].update(count=1),
        lambda tree: tree["accessors"].__setitem__(6, {"componentType": 5126, "type": "VEC3", "count": 2**58}),
        lambda tree: tree["skins"][0].update(joints=[1]),
        lambda tree: tree["skins"][0].update(joints=[1, 77]),
        lambda tree: tree["nodes"][2].update(children=[1]),
        lambda tree: tree["animations"][0]["samplers"][0].update(interpolation="WOBBLE"),
        lambda tree: tree["animations"][0]["samplers"][0].pop("output"),
    ],
)
def test_damaged_animations_are_named_in_one_sentence(tmp_path, change):
    pytest.importorskip("trimesh")
    write_model(tmp_path / "bad.glb", turning(), change)
    with pytest.raises(StorageError, match=r"bad\.glb cannot be read as a GLB model \(") as error:
        load_bodies(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def still_world():
    """What a solid needs that stands before a camera that does not move."""
    config = SynthConfig(frames=MOMENTS, size=(64, 80), speed=0.0, shake=0.0, layers=(1, 1), animated=1.0)
    dice, shapes = Dice(0), ShapeBank(4)
    layers, _ = random_layers(dice, config, shapes, 1)
    return config, PhotoBank.procedural(2, size=(32, 32)), random_motion(dice, config, layers)


def test_a_followed_point_lies_where_the_formula_says(tmp_path, still_world):
    pytest.importorskip("trimesh")
    write_model(tmp_path / "a.glb", turning())
    (body,) = load_bodies(tmp_path)
    config, photos, motion = still_world
    solid = random_solid(Dice(1), config, photos, [body], motion, 2)
    assert solid.stride is not None
    far, size = 0.9, 0.7
    solid = solid._replace(
        stride=Stride(body.gaits[0].places(), True, 0.0, 1.0),
        rest=torch.tensor([0.1, -0.2, 0.0, 0.0, 0.0, far]),
        size=size,
        waves=torch.zeros_like(solid.waves),
    )
    times = torch.arange(MOMENTS, dtype=torch.float32)
    weights = torch.tensor([[0.2, 0.3, 0.5]]).expand(len(body.corners), 3)
    points = SurfacePoints(torch.arange(len(body.corners)), weights)
    xy, _ = follow(solid, view(solid, times), points, times)
    moved = np.stack([bent(HALF_TURN * k / (MOMENTS - 1)) for k in range(MOMENTS)])
    moved = moved - (moved.min((0, 1)) + moved.max((0, 1))) / 2
    moved = moved / np.linalg.norm(moved, axis=-1).max()
    place = (moved[:, body.vertex.numpy()] * np.array([0.2, 0.3, 0.5])[:, None]).sum(2)
    scale = size * math.exp(far) / (place[..., 2] + math.exp(far))
    camera = motion.camera_matrix(times[None])[0].double().numpy()
    seen = place[..., :2] * scale[..., None] + [0.1, -0.2]
    seen = np.einsum("mij,mnj->mni", camera[:, :2, :2], seen) + camera[:, None, :2, 2]
    truth = seen * 40 + [40, 32]
    assert np.abs(xy.numpy().transpose(1, 0, 2) - truth).max() < 1e-3
    assert np.abs(np.diff(truth, axis=0)).max() > 1


def wave(count: int, whole: bool = True) -> torch.Tensor:
    """Two vertices, one of which goes round in a circle (or half of it), `count` moments of it [count,2,3]."""
    angle = torch.linspace(0, 2 * math.pi if whole else math.pi, count)
    still = torch.zeros(count, 3)
    return torch.stack([still, torch.stack([angle.cos(), angle.sin(), torch.zeros(count)], -1)], 1)


def test_animations_that_end_where_they_begin_loop_without_a_pause():
    twice, once = gait_of(wave(25)), gait_of(wave(25)[:-1])
    assert twice.loops and once.loops
    assert twice.moments.shape == once.moments.shape == (24, 2, 3)
    assert not gait_of(wave(25, whole=False)).loops
    assert gait_of(wave(25)[:1].expand(25, -1, -1)) is None


def test_strides_pass_smoothly_through_their_moments_and_repeat():
    gait = gait_of(wave(25))
    stride = Stride(gait.places(), True, 0.0, 0.5)
    assert torch.allclose(stride.at(torch.arange(0, 96, 2.0)), gait.places().repeat(2, 1, 1), atol=1e-6)
    # Between moments of a circle a Catmull-Rom curve is off it by a fraction of a thousandth, a chord by 0.9 %.
    between = stride.at(torch.arange(1, 48, 2.0))
    radius = (between[:, 1] - between[:, 0]).norm(dim=-1)
    assert torch.allclose(radius, (gait.places()[0, 1] - gait.places()[0, 0]).norm().expand(24), rtol=1e-3)


def test_what_does_not_loop_goes_forth_and_back_and_slows_at_its_ends():
    gait = gait_of(wave(25, whole=False))
    stride = Stride(gait.places(), False, 0.0, 1.0)
    ends = stride.at(torch.tensor([0.0, 25.0, 50.0]))
    assert torch.allclose(ends, gait.places()[[0, -1, 0]], atol=1e-4)
    steps = stride.at(torch.arange(0, 51.0)).diff(dim=0)[:, 1].norm(dim=-1)
    assert steps[[0, 24, 25, 49]].max() < 0.25 * steps.max()


def test_gaits_take_8_to_60_frames_and_stand_still_at_speed_0():
    gait = gait_of(wave(25))
    rates = [random_stride(Dice(seed), (gait,), 1.0).rate for seed in range(200)]
    frames = [24 / rate for rate in rates]
    assert 8 <= min(frames) < 10 and 50 < max(frames) <= 60
    assert random_stride(Dice(0), (gait,), 2.0).rate == pytest.approx(2 * rates[0])
    assert random_stride(Dice(0), (gait,), 0.0).rate == 0


def test_normals_turn_with_the_surface():
    body = built_in_bodies(1)[0]
    points, vertex = body.corners.flatten(0, 1), torch.arange(3 * len(body.corners)).view(-1, 3)
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    normals = smooth_normals(torch.stack([points, points @ turn.T]), vertex)
    a, b, c = body.corners.unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).repeat_interleave(3)
    # At the poles triangles are lines.
    large = area > 1e-4
    assert torch.allclose(normals[1, large], normals[0, large] @ turn.T, atol=1e-4) and large.float().mean() > 0.9
    outwards = (normals[0].view(-1, 3, 3) * body.normals).sum(-1)
    assert outwards.flatten()[large].quantile(0.02) > 0.8


def test_coarser_bodies_move_as_the_fine_ones_do():
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=4)
    places, vertex = torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces)
    corners = places[vertex]
    swing = torch.linspace(0, 2 * math.pi, MOMENTS).sin()[:, None, None]
    moments = places * (1 + 0.5 * swing * torch.tensor([1.0, 0.0, 0.0]))
    part = Body(corners, corners, torch.empty(len(corners), 3, 0), None, True, vertex)
    gait = gait_of(moments)
    body = _joined([part], (gait,))
    assert len(body.corners) <= KEPT_FACES < len(corners) and body.vertex.shape == (len(body.corners), 3)
    found = body.gaits[0].places()[:, body.vertex] * 1.5
    # What is stretched along x is so after corners became one, too.
    truth = body.corners * (1 + 0.5 * swing[: len(found), :, :, None] * torch.tensor([1.0, 0.0, 0.0]))
    assert (found - truth).abs().max() < 2e-3


def twin(body: Body) -> Body:
    """The same body, able to sway."""
    points = body.corners.flatten(0, 1)
    swing = torch.linspace(0, 2 * math.pi, MOMENTS).sin()[:, None, None]
    gait = gait_of(points + swing * points[:, 1:2] * torch.tensor([0.4, 0.0, 0.0]))
    return body._replace(vertex=torch.arange(len(points)).view(-1, 3), gaits=(gait,))


def test_the_share_of_animated_bodies_is_the_configs_and_without_it_clips_stay_as_they_were(still_world):
    _, photos, motion = still_world
    stiff = built_in_bodies(2)
    both = [*stiff, *map(twin, stiff)]
    config = SynthConfig(frames=4, size=(64, 64), animated=0.7)
    drawn = [random_solid(Dice(seed), config, photos, both, motion, 2) for seed in range(200)]
    walking = [solid for solid in drawn if solid.stride is not None]
    assert 0.6 < len(walking) / 200 < 0.8
    assert all(solid.body.gaits for solid in walking)
    assert not any(solid.body.gaits for solid in drawn if solid.stride is None)
    assert random_solid(Dice(0), config, photos, stiff, motion, 2).stride is None
    assert SynthConfig().animated == 0 and SynthConfig().crowded().animated == pytest.approx(2 / 3)
    small = SynthConfig(frames=3, size=(32, 48), points=20, layers=(1, 2), shapes=8, solids=1.0)
    before, after = (ClipMaker(small, photos, bodies=bank).batch(2, 5) for bank in (stiff, [twin(b) for b in stiff]))
    assert torch.equal(before.video, after.video) and torch.equal(before.xy, after.xy)
    moving = ClipMaker(dataclasses.replace(small, animated=1.0), photos, bodies=[twin(b) for b in stiff]).batch(2, 5)
    assert not torch.equal(before.video, moving.video)
