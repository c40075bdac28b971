"""Running a benchmark: what is asked, what is kept, what is resumed, and what the reports say."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.frames import ArrayFrames
from tapkit.datasets.tiny import TinyDataset
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.evaluation.predict import PredictionFolder, predict
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.report import bin_labels, comparison, html, markdown
from tapkit.evaluation.result import Result, compare_models, open_model
from tapkit.evaluation.run import Contestant, Shard, evaluate, unanswered
from tapkit.evaluation.score import from_json, score_clip, to_json
from tapkit.evaluation.write import write_all
from tapkit.metrics.tapvid import tapvid_metrics
from tapkit.types import ModelCard, Provenance, Tracks, VideoInfo

SIZE, FRAMES = (64, 128), 10


def card(**changes):
    fields = {
        "id": "oracle",
        "name": "Oracle",
        "paper": "",
        "paper_url": "",
        "code_licence": "",
        "weights_licence": "none",
        "commercial": True,
        "factory": "tapkit.models.lucas_kanade.tracker:none",
        "confidence_radius": 8.0,
    }
    return ModelCard(**(fields | changes))


class MadeSet(Dataset):
    """Points that move right by two pixels a frame; clip i has i + 1 tracks, one of them hidden for a while."""

    name = "made"
    resolution = "native"

    def __init__(self, clips=4):
        self.count, self.opened, self.broken = clips, 0, set()

    def names(self):
        return [f"clip{i}" for i in range(self.count)]

    def clip(self, name):
        if name in self.broken:
            raise VideoError(f"{name} is damaged")
        number = int(name[4:]) + 1
        xy = np.zeros((number, FRAMES, 2), np.float32)
        xy[..., 0] = 5 + 2 * np.arange(FRAMES)
        xy[..., 1] = 5 + 6 * np.arange(number)[:, None]
        visible = np.ones((number, FRAMES), bool)
        visible[0, 4:6] = False
        self.opened += 1
        video = np.zeros((FRAMES, *SIZE, 3), np.uint8)
        return Clip(name, xy, visible, SIZE, lambda: ArrayFrames(video, VideoInfo(SIZE[1], SIZE[0], frames=FRAMES)))


class Mover:
    """Answers with constant motion plus an error in pixels; remembers what it was asked."""

    weights_sha256 = "abc"

    def __init__(self, card, error=0.0):
        self.card, self.error, self.calls = card, error, []

    def track(self, video, queries, direction="both"):
        info = video.info
        frames = sum(1 for _ in video.frames())
        self.calls.append((info.size, len(queries), direction))
        step = np.array([2.0 * info.width / SIZE[1], 0.0])
        time = np.arange(frames)[None, :, None] - queries.t[:, None, None]
        xy = queries.xy[:, None] + step * time + self.error * (time != 0)
        probability = np.full(xy.shape[:2], 0.9)
        source = Provenance(visible_threshold=self.card.visible_threshold)
        return Tracks(xy, probability, probability, probability > 0, queries, info, source)


def contestant(error=0.0, **changes):
    made = card(**changes)
    mover = Mover(made, error)
    return Contestant(made, make=lambda: mover), mover


# -- protocol -------------------------------------------------------------------------------------


def test_the_frames_are_resized_and_the_answers_scaled_back():
    _, mover = contestant()
    clip = MadeSet().clip("clip2")
    prediction = predict(mover, clip, Protocol(resolution="256x256"))
    assert mover.calls == [((256, 256), 3, "forward")]
    np.testing.assert_allclose(prediction.xy, clip.xy, atol=1e-4)


@pytest.mark.parametrize(
    ("resolution", "size"), [("native", SIZE), ("model", (48, 80)), ("32x64", (32, 64)), ("256x256", (256, 256))]
)
def test_each_resolution_hands_over_that_size(resolution, size):
    _, mover = contestant(input_size=(48, 80))
    predict(mover, MadeSet().clip("clip0"), Protocol(resolution=resolution))
    assert mover.calls[0][0] == size


def test_joint_trackers_are_asked_one_query_at_a_time_unless_told_otherwise():
    for points, calls in (("auto", [1, 1, 1]), ("joint", [3]), ("single", [1, 1, 1])):
        _, mover = contestant(joint=True)
        predict(mover, MadeSet().clip("clip2"), Protocol(resolution="native", points=points))
        assert [count for _, count, _ in mover.calls] == calls
    _, mover = contestant(joint=False)
    predict(mover, MadeSet().clip("clip2"), Protocol(resolution="native"))
    assert [count for _, count, _ in mover.calls] == [3]


def test_strided_queries_run_in_both_directions():
    _, mover = contestant()
    clip = MadeSet().clip("clip1")
    prediction = predict(mover, clip, Protocol("strided", resolution="native"))
    assert mover.calls[0][2] == "both"
    assert prediction.frame.tolist() == [0, 0, 5]  # the first track is hidden on frame 5
    np.testing.assert_allclose(prediction.xy, clip.xy[prediction.track], atol=1e-4)


def test_queries_just_outside_the_frame_are_moved_to_its_border():
    clip = MadeSet().clip("clip0")
    xy = clip.xy.copy()
    xy[0, 0, 0] = SIZE[1] + 0.01
    _, mover = contestant()
    predict(mover, Clip("a", xy, clip.visible, SIZE, clip.open), Protocol(resolution="native"))


@pytest.mark.parametrize("bad", [{"query_mode": "last"}, {"stride": 0}, {"resolution": "big"}, {"points": "all"}])
def test_protocols_that_do_not_exist_are_refused(bad):
    with pytest.raises(UsageError):
        Protocol(**bad)


def test_everything_that_changes_a_prediction_changes_its_key():
    entry, _ = contestant()
    keys = {
        Protocol().key(**entry.identity()),
        Protocol("strided").key(**entry.identity()),
        Protocol(resolution="native").key(**entry.identity()),
        Protocol().key(**contestant(visible_threshold=0.7)[0].identity()),
        Protocol().key(**Contestant(entry.card, options={"iterations": 4}).identity()),
    }
    assert len(keys) == 5


def test_the_protocol_string_says_everything():
    text = Protocol("strided").describe(card(joint=True), {"support": "grid5"}, "visible > 0.5")
    for part in (
        "strided (5), forward and backward",
        "256x256 (Lanczos)",
        "one at a time",
        "support grid5",
        "visible > 0.5",
    ):
        assert part in text


# -- scores ---------------------------------------------------------------------------------------


def test_the_figures_of_a_clip_are_the_official_ones():
    _, mover = contestant(error=3.0)
    clip = MadeSet().clip("clip3")
    prediction = predict(mover, clip, Protocol(resolution="native"))
    score = score_clip(clip, prediction, "first")
    scale = np.array([256 / SIZE[1], 256 / SIZE[0]])
    official = tapvid_metrics(
        prediction.frame,
        clip.xy[prediction.track] * scale,
        clip.visible[prediction.track],
        prediction.xy * scale,
        prediction.said,
    )
    for key, value in official.items():
        assert score.figures[key] == pytest.approx(float(value), abs=1e-12)


def test_each_track_has_its_own_figures():
    _, mover = contestant()
    clip = MadeSet().clip("clip1")
    tracks = score_clip(clip, predict(mover, clip, Protocol(resolution="native")), "first").tracks
    assert [(t.track, t.frame, t.delta_avg, t.oa) for t in tracks] == [(0, 0, 1.0, round(7 / 9, 4)), (1, 0, 1.0, 1.0)]


def test_curves_put_each_entry_where_it_belongs():
    _, mover = contestant()
    clip = MadeSet().clip("clip1")
    score = score_clip(clip, predict(mover, clip, Protocol(resolution="native")), "first")
    assert score.age.evaluated.tolist()[:5] == [2, 4, 8, 4, 0]  # 2 queries, frames 1, 2-3, 4-7, 8-9
    assert score.hidden.visible.tolist()[:4] == [3 + 9, 0, 4, 0]  # the first track comes back after 2 frames
    assert score.speed.visible.sum() == score.speed.visible[5] == 7 + 9 - 1  # 4 px of 256 a frame


def test_entries_that_do_not_count_are_left_out():
    clip = MadeSet().clip("clip0")
    counted = np.zeros(clip.visible.shape, bool)
    counted[:, [0, 9]] = True
    _, mover = contestant()
    masked = Clip("a", clip.xy, clip.visible, SIZE, clip.open, counted=counted)
    score = score_clip(masked, predict(mover, masked, Protocol(resolution="native")), "first")
    assert int(score.age.evaluated.sum()) == 1


def test_a_score_survives_json():
    _, mover = contestant(error=1.0)
    clip = MadeSet().clip("clip1")
    for mode in ("first", "strided"):
        score = score_clip(clip, predict(mover, clip, Protocol(mode, resolution="native")), mode, 8.0)
        values = to_json(score)
        assert to_json(from_json(json.loads(json.dumps(values)))) == values


def test_confidence_is_checked_against_the_cards_radius():
    _, mover = contestant(error=3.0)
    clip = MadeSet().clip("clip0")
    prediction = predict(mover, clip, Protocol(resolution="native"))
    wide, narrow = (score_clip(clip, prediction, "first", radius).confidence_reliability for radius in (5.0, 4.0))
    assert wide.happened.sum() == wide.entries.sum()  # the error is 4.24 px
    assert narrow.happened.sum() == 0


# -- running --------------------------------------------------------------------------------------


def test_a_second_run_computes_figures_without_asking_again(tmp_path):
    entry, mover = contestant(error=1.0)
    first = evaluate(MadeSet(), [entry], Protocol(resolution="native"), tmp_path)
    asked = len(mover.calls)
    steps = []
    second = evaluate(MadeSet(), [entry], Protocol(resolution="native"), tmp_path, progress=steps.append)
    assert len(mover.calls) == asked == 4
    assert all(step.cached for step in steps)
    assert second.to_dict() == first.to_dict()


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(tmp_path):
    entry, mover = contestant()
    stopped = MadeSet()

    def stop(step):
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(stopped, [entry], Protocol(resolution="native"), tmp_path, progress=stop)
    assert len(mover.calls) == 2
    evaluate(stopped, [entry], Protocol(resolution="native"), tmp_path)
    assert len(mover.calls) == 4


def test_shards_together_give_the_whole(tmp_path):
    whole, _ = contestant(error=1.0)
    expected = evaluate(MadeSet(5), [whole], Protocol(resolution="native"), tmp_path / "whole")
    entry, mover = contestant(error=1.0)
    protocol = Protocol(resolution="native")
    for i in (1, 2):
        assert unanswered(MadeSet(5), [entry], protocol, tmp_path / "parts")
        evaluate(MadeSet(5), [entry], protocol, tmp_path / "parts", Shard(i, 2))
    assert unanswered(MadeSet(5), [entry], protocol, tmp_path / "parts") == []
    joined = evaluate(MadeSet(5), [entry], protocol, tmp_path / "parts")
    assert len(mover.calls) == 5
    assert joined.models[0].summary == expected.models[0].summary
    assert joined.dataset_hash == expected.dataset_hash


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_shards_that_do_not_exist_are_refused(text):
    with pytest.raises(UsageError, match="shard"):
        Shard.parse(text)


def test_a_clip_that_cannot_be_read_is_reported_and_the_rest_scored(tmp_path):
    entry, _ = contestant()
    dataset = MadeSet()
    dataset.broken.add("clip1")
    result = evaluate(dataset, [entry], Protocol(resolution="native"), tmp_path)
    assert result.models[0].failed == {"clip1": "clip1 is damaged"}
    assert len(result.models[0].scores) == 3
    assert "clip1 is damaged" in markdown(result)


def test_a_changed_annotation_is_not_answered_from_the_cache(tmp_path):
    store = PredictionFolder(tmp_path)
    clip = MadeSet().clip("clip0")
    _, mover = contestant()
    store.save(clip, predict(mover, clip, Protocol(resolution="native")))
    assert store.load(clip) is not None
    assert store.load(Clip(clip.name, clip.xy + 1, clip.visible, SIZE, clip.open)) is None


def test_the_protocol_names_the_options_in_force_also_without_loading_the_model(tmp_path):
    entry, mover = contestant()
    mover.model = SimpleNamespace(options={"support": "global:6", "iterations": 6})
    for _ in range(2):
        result = evaluate(MadeSet(1), [entry], Protocol(resolution="native"), tmp_path)
        assert "iterations 6; support global:6" in result.models[0].protocol
    assert len(mover.calls) == 1


def test_predictions_of_other_weights_are_not_mixed(tmp_path):
    entry, mover = contestant()
    dataset = MadeSet()
    evaluate(dataset, [entry], Protocol(resolution="native"), tmp_path, Shard(1, 2))
    mover.weights_sha256 = "other"
    with pytest.raises(UsageError, match="--fresh"):
        evaluate(dataset, [entry], Protocol(resolution="native"), tmp_path)
    evaluate(dataset, [entry], Protocol(resolution="native"), tmp_path, fresh=True)


def test_a_damaged_prediction_is_named(tmp_path):
    entry, _ = contestant()
    evaluate(MadeSet(1), [entry], Protocol(resolution="native"), tmp_path)
    path = next(tmp_path.rglob("clip0.npz"))
    path.write_bytes(path.read_bytes()[:100])
    result = evaluate(MadeSet(1), [entry], Protocol(resolution="native"), tmp_path)
    assert "clip0.npz" in result.models[0].failed["clip0"]


def test_names_of_clips_make_safe_file_names(tmp_path):
    store = PredictionFolder(tmp_path)
    clip = MadeSet().clip("clip0")
    _, mover = contestant()
    for name in ("a/b", "..", "a:b", "a_b", "x" * 300):
        odd = Clip(name, clip.xy, clip.visible, SIZE, clip.open)
        store.save(odd, predict(mover, odd, Protocol(resolution="native")))
    assert len(list(tmp_path.glob("*.npz"))) == 5


# -- results --------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    good, bad = contestant(0.5, id="good")[0], contestant(9.0, id="bad")[0]
    dataset, protocol = MadeSet(6), Protocol(resolution="native")
    result = evaluate(dataset, [good, bad], protocol, tmp_path)
    return result, dataset, [good, bad], protocol, tmp_path


def test_a_result_survives_its_file(two):
    result, *_, folder = two
    path = result.save(folder / "result.json")
    assert Result.load(folder).to_dict() == result.to_dict()
    assert "NaN" not in path.read_text()
    json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))


def test_other_files_are_not_results(tmp_path):
    (tmp_path / "result.json").write_text('{"format": "something"}')
    with pytest.raises(StorageError, match="not a result"):
        Result.load(tmp_path)
    (tmp_path / "result.json").write_text("no")
    with pytest.raises(StorageError, match="JSON"):
        Result.load(tmp_path)


def test_a_result_that_lacks_a_part_is_a_clean_error(two):
    result, *_, folder = two
    values = result.to_dict()
    del values["models"][0]["clips"][0]["age"]
    (folder / "result.json").write_text(json.dumps(values))
    with pytest.raises(StorageError, match="damaged result"):
        Result.load(folder)


def test_what_is_missing_is_said_above_the_table(tmp_path):
    class Partly(MadeSet):
        def missing(self):
            return {"20 clips": "4 of 24 are in the files"}

    entry, _ = contestant()
    text = markdown(evaluate(Partly(), [entry], Protocol(resolution="native"), tmp_path))
    assert "4 of 4 clips scored, missing: 20 clips" in text
    assert "missing: 20 clips (4 of 24 are in the files)" in text


def test_a_clear_difference_is_told_from_noise(two):
    result, *_, folder = two
    result.save(folder / "result.json")
    (_, good), (_, bad) = open_model(f"{folder}#good"), open_model(f"{folder}#bad")
    difference = compare_models(good, bad)["average_jaccard"]
    assert difference.significant
    assert difference.worse == 6
    assert "more than noise" in comparison("good", "bad", compare_models(good, bad))
    assert "within noise" in comparison("good", "good", compare_models(good, good))
    with pytest.raises(UsageError, match="#MODEL"):
        open_model(str(folder))


class Links(HTMLParser):
    """Collects what a page would load, and checks that tags close."""

    def __init__(self):
        super().__init__()
        self.loads, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.loads += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.loads += [value for key, value in attributes if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(two):
    result, dataset, entries, protocol, folder = two
    page = write_all(result, dataset, entries, protocol, folder)["html"].read_text()
    links = Links()
    links.feed(page)
    assert links.open == []
    assert links.loads
    assert all(load.startswith("data:image/jpeg;base64,") for load in links.loads)
    assert "<script" not in page
    assert "url(" not in page
    for model in result.models:
        assert model.protocol.replace(">", "&gt;") in page
    assert len(re.findall("<figure>", page)) == 6  # thresholds, age, hidden, speed, two reliability diagrams


def test_names_from_the_data_cannot_break_the_page(tmp_path):
    class Evil(MadeSet):
        name = "<script>alert(1)</script>"

    entry, _ = contestant()
    page = html(evaluate(Evil(), [entry], Protocol(resolution="native"), tmp_path))
    assert "<script" not in page


def test_undefined_figures_are_a_dash_and_counted(tmp_path):
    class Hidden(MadeSet):
        def clip(self, name):
            clip = super().clip(name)
            visible = clip.visible.copy()
            if name == "clip0":
                visible[:, 1:] = False
            return Clip(name, clip.xy, visible, SIZE, clip.open)

    entry, _ = contestant()
    result = evaluate(Hidden(2), [entry], Protocol(resolution="native"), tmp_path)
    mean = result.models[0].summary["average_pts_within_thresh"]
    assert (mean.value, mean.defined, mean.undefined) == (1.0, 1, 1)
    assert "undefined on 1 clips" in markdown(result)
    alone = evaluate(Hidden(1), [entry], Protocol(resolution="native"), tmp_path)
    assert "| oracle | 0.0 | – |" in markdown(alone)


def test_bins_are_named_by_their_ends():
    assert bin_labels((1, 2, 4)) == ["1", "2–3", "4+"]


# -- the benchmark that ships, with a real tracker ------------------------------------------------


def test_lucas_kanade_on_the_tiny_benchmark(tmp_path):
    dataset, protocol = TinyDataset(), Protocol(resolution="native")
    entry = Contestant.of("lucas-kanade", device="cpu")
    result = evaluate(dataset, [entry], protocol, tmp_path)
    write_all(result, dataset, [entry], protocol, tmp_path)
    figures = {key: mean.value for key, mean in result.models[0].summary.items()}
    assert figures["average_jaccard"] > 0.55
    assert figures["average_pts_within_thresh"] > 0.7
    assert figures["occlusion_accuracy"] > 0.8
    by_clip = {score.clip: score.figures["average_pts_within_thresh"] for score in result.models[0].scores}
    assert by_clip["tilt"] > by_clip["return"]  # lost points are harder than slow planes
