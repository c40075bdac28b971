"""Live sources: iterators, streams at an address, cameras."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import UsageError, VideoError, VideoWarning
from tapkit.video import Frame, open_video
from tapkit.video.live import Arrival, LiveSource, Newest

sys.path.insert(0, str(Path(__file__).parent))
from clips import coded_frame, number_of, write_clip


def counted(frames: int = 10):
    for number in range(frames):
        yield coded_frame(number)


def test_a_generator_is_read_once_forwards_and_only_as_far_as_asked():
    taken = []
    source = open_video(taken.append(n) or coded_frame(n) for n in range(100))
    assert source.live and source.info.frames is None and source.info.size == (48, 64)
    assert [number_of(f.image) for f in source.frames(stop=4)] == [0, 1, 2, 3]
    assert [f.index for f in source.frames(6, 12, 2)] == [6, 8, 10]
    assert len(taken) == 12
    assert number_of(source.read(20, size=(24, 32)).image) == 20
    with pytest.raises(UsageError, match="frame 5 has gone by, the next one is 21"):
        source.frames(5)
    with pytest.raises(UsageError, match="forwards"):
        source.frames(step=-1)
    assert [f.index for f in source.frames()] == list(range(21, 100))


def test_looking_at_the_next_frame_does_not_take_it():
    source = open_video(coded_frame(n) for n in range(4))
    assert number_of(source.peek().image) == 0
    assert [number_of(f.image) for f in source.frames(stop=2)] == [0, 1]
    assert (source.peek().index, number_of(source.peek().image)) == (2, 2)
    assert [(f.index, number_of(f.image)) for f in source.frames()] == [(2, 2), (3, 3)]
    with pytest.raises(VideoError, match="no further frame"):
        source.peek()


def test_an_iterator_may_state_its_own_times_and_is_closed_with_its_source():
    closed = []

    def frames():
        try:
            for number in range(5):
                yield Frame(number, number**2 / 10, coded_frame(number))
        finally:
            closed.append(True)

    with open_video(frames(), fps=10) as source:
        assert [frame.time for frame in source.frames(stop=3)] == [0.0, 0.1, 0.4]
    assert closed == [True]
    assert list(source.frames()) == []


def test_an_iterator_without_frames_is_an_error():
    with pytest.raises(VideoError, match="no frame at all"):
        open_video(iter([]))


@pytest.fixture
def address(tmp_path):
    """A web server for the files in tmp_path."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_finite_video_at_an_address_loses_no_frame(address, tmp_path):
    write_clip(tmp_path / "clip.ts", 30, options={"g": "10"})
    with open_video(f"{address}/clip.ts") as source:
        assert source.live and source.info.size == (48, 64)
        frames = list(source.frames(size=(24, 32)))
    assert [number_of(frame.image) for frame in frames] == list(range(30))
    assert frames[0].time == 0 and frames[-1].time == pytest.approx(29 / 30, abs=1e-3)


@pytest.mark.parametrize(("second", "message"), [((96, 128), "scaled to that size"), ((64, 48), "open it again")])
def test_a_stream_that_changes_its_size_says_so(address, second, message, tmp_path):
    parts = [write_clip(tmp_path / f"{size[1]}.h264", 6, size=size, options={"g": "3"}) for size in ((48, 64), second)]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(f"{address}/both.h264") as source:
        if second == (64, 48):
            with pytest.raises(VideoError, match=rf"frame 6 of .* is 48x64, but it began with 64x48: {message}"):
                list(source.frames())
            return
        with pytest.warns(
            VideoWarning, match=rf"frame 6 of .* is 128x96, but it began with 64x48: .*{message}"
        ) as told:
            assert [number_of(frame.image) for frame in source.frames()] == [*range(6)] * 2
        assert len(told) == 1


def test_an_address_that_does_not_answer_is_one_clear_error(address):
    with pytest.raises(VideoError, match=r"nothing can be read from http.*missing\.mp4"):
        open_video(f"{address}/missing.mp4")


def test_who_is_slow_gets_the_newest_frame_and_the_count_of_those_missed():
    gate = [threading.Event() for _ in range(3)]

    def arrivals():
        for number in range(10):
            if number in (1, 6):
                gate[number > 1].wait(5)
            image = coded_frame(number)
            yield Arrival(number / 10, lambda size, image=image: image.copy())
            if number in (5, 9):
                gate[2].set()

    newest = Newest(arrivals(), "test")
    assert next(newest).time == 0.0
    gate[0].set()
    assert gate[2].wait(5)
    deadline = time.monotonic() + 5
    while newest.dropped < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert next(newest).time == 0.5 and newest.dropped == 4
    gate[1].set()
    newest.close()


def test_a_failure_in_the_thread_reaches_the_reader():
    def arrivals():
        yield Arrival(0.0, lambda size: coded_frame(0))
        raise VideoError("the cable is out")

    newest = Newest(arrivals(), "test")
    with pytest.raises(VideoError, match="the cable is out"):
        list(newest)


def test_a_camera_is_read_through_opencv(monkeypatch):
    cv2 = pytest.importorskip("cv2")
    released = []

    class Camera:
        def __init__(self, which):
            self.which, self.count = which, 0

        def isOpened(self):
            return self.which == 7

        def get(self, what):
            return 29.97

        def read(self):
            self.count += 1
            return self.count <= 3, np.ascontiguousarray(coded_frame(self.count)[..., ::-1])

        def release(self):
            released.append(self.which)

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with open_video(7) as source:
        assert isinstance(source, LiveSource) and source.info.size == (48, 64) and source.info.path == "camera:7"
        last = list(source.frames())[-1]
    assert number_of(last.image) == 3 and last.image[-1, -1].tolist() == [230, 20, 20]  # RGB, not BGR
    assert released == [7]
    with pytest.raises(VideoError, match="no camera 3"):
        open_video("camera:3")
