"""VideoWriter: what is read back is what was written, and no half file gets the final name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tapkit.errors import ShapeError, StorageError, UsageError, VideoError
from tapkit.types import VideoInfo
from tapkit.video.base import Frame
from tapkit.video.writer import VideoWriter

FPS = Fraction(30000, 1001)


def picture(index: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A red frame with a green block that moves four pixels a frame."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (200, 0, 0)
    image[8:24, 4 * index : 4 * index + 16] = (20, 230, 90)
    return image


def write(path: Path, info: VideoInfo, frames: int, **options: object) -> Path:
    with VideoWriter(path, info, **options) as writer:  # type: ignore[arg-type]
        for index in range(frames):
            writer.write(picture(index, info.width, info.height))
    return path


def decoded(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times [T] in seconds and frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.array([float(f.pts * f.time_base) for f in frames]), [f.to_ndarray(format="rgb24") for f in frames]


def sound(path: Path, seconds: float) -> Path:
    """A 440 Hz tone."""
    tone = np.sin(np.arange(int(seconds * 16000)) * 2 * np.pi * 440 / 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((tone * 20000).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("ending", "clock"), [("mp4", 0.0), ("mov", 0.0), ("prores.mov", 0.0), ("mkv", 6e-4), ("webm", 6e-4)]
)
def test_frames_come_back_at_their_places_colours_and_exact_times(tmp_path: Path, ending: str, clock: float) -> None:
    path = write(tmp_path / f"a.{ending}", VideoInfo(64, 48, FPS, frames=10), 10)
    times, frames = decoded(path)
    assert np.abs(times - np.arange(10) * 1001 / 30000).max() <= clock + 1e-9
    for index, frame in enumerate(frames):
        error = np.abs(frame.astype(int) - picture(index))
        assert error[12:20, 4 * index + 4 : 4 * index + 12].max() <= 12  # inside the block
        assert error[30:44].max() <= 12  # the plain background
    assert list(tmp_path.iterdir()) == [path]


def test_prores_keeps_ten_bits(tmp_path: Path) -> None:
    """A ramp of 16 bits too fine for 8: read back by FFmpeg as 10 bits of ProRes 422 HQ."""
    ramp = np.repeat(np.linspace(20000, 26000, 64).astype(np.uint16)[None, :, None], 48, 0).repeat(3, 2)
    path = tmp_path / "a.prores.mov"
    with VideoWriter(path, VideoInfo(64, 48, FPS, frames=2), quality="high") as writer:
        for _ in range(2):
            writer.write(ramp)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.profile) == ("prores", "HQ")
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv422p10le"
        found = frame.to_ndarray(format="rgb48le")
    assert np.abs(found.astype(int) - ramp)[:, 2:-2].max() < 257  # below one step of 8 bits
    assert len(np.unique(found[20, :, 1])) > 50  # 8 bits would leave 24 steps
    with (
        pytest.raises(ShapeError, match="uint8, got"),
        VideoWriter(tmp_path / "b.mp4", VideoInfo(64, 48, FPS)) as plain,
    ):
        plain.write(ramp)


def test_variable_frame_times_are_kept_to_the_microsecond(tmp_path: Path) -> None:
    times = 0.08 + np.cumsum([0.0, 0.033, 0.05, 0.0101, 0.1, 0.04])
    path = write(tmp_path / "a.mp4", VideoInfo(64, 48, FPS, frames=6, times=times), 6)
    assert np.abs(decoded(path)[0] - times).max() < 1e-5


def test_a_part_of_a_video_begins_at_zero(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, Fraction(25), frames=100)
    with VideoWriter(tmp_path / "a.mp4", info) as writer:
        for index in range(50, 55):
            writer.write(Frame(index, info.time_of(index), picture(index - 50)))
    assert decoded(tmp_path / "a.mp4")[0] == pytest.approx(np.arange(5) / 25, abs=1e-9)


def test_odd_sides_gain_one_repeated_line_in_h264_and_none_in_vp9(tmp_path: Path) -> None:
    info = VideoInfo(63, 47, FPS, frames=3)
    frame = decoded(write(tmp_path / "a.mp4", info, 3))[1][0]
    assert frame.shape == (48, 64, 3)
    assert np.abs(frame[:47, :63].astype(int) - picture(0, 63, 47))[12:20, 2:12].max() <= 12
    assert np.abs(frame[47, 30:].astype(int) - (200, 0, 0)).max() <= 12
    assert decoded(write(tmp_path / "a.webm", info, 3))[1][0].shape == (47, 63, 3)


def test_pixel_aspect_is_kept_or_its_loss_is_said(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, FPS, frames=3, pixel_aspect=Fraction(4, 3))
    with av.open(str(write(tmp_path / "a.mp4", info, 3))) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    with pytest.warns(UserWarning, match="square pixels"):
        write(tmp_path / "a.webm", info, 3)


def test_a_gif_loops_and_keeps_vivid_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gif", VideoInfo(64, 48, Fraction(25), frames=8), 8)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (8, 0, 40)
        image.seek(5)
        shown = np.array(image.convert("RGB")).astype(int)
    assert np.abs(shown[10:22, 22:34].mean((0, 1)) - (20, 230, 90)).max() < 12


def test_gif_frames_too_close_for_browsers_are_left_out_without_changing_the_pace(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gif", VideoInfo(64, 48, Fraction(100), frames=10), 10)
    assert decoded(path)[0] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])


def test_a_palette_is_made_anew_when_the_scene_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    warm, cold = (rng.integers(0, 60, (48, 64, 3)).astype(np.uint8) + shift for shift in ((180, 90, 0), (0, 60, 190)))
    with VideoWriter(tmp_path / "a.gif", VideoInfo(64, 48, Fraction(10))) as writer:
        for image in (warm, warm, cold, cold):
            writer.write(image.astype(np.uint8))
    frames = decoded(tmp_path / "a.gif")[1]
    assert np.abs(frames[1].mean((0, 1)) - warm.mean((0, 1))).max() < 4
    assert np.abs(frames[3].mean((0, 1)) - cold.mean((0, 1))).max() < 4


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "aac"), ("mov", "pcm_s16le"), ("webm", "opus")])
def test_sound_is_copied_or_encoded_for_the_container(tmp_path: Path, ending: str, codec: str) -> None:
    tone = sound(tmp_path / "tone.wav", 1.0)
    path = write(tmp_path / f"a.{ending}", VideoInfo(64, 48, Fraction(10), frames=10), 10, audio_from=tone)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == codec
        samples = sum(f.samples / f.sample_rate for f in container.decode(audio=0))
    assert samples == pytest.approx(1.0, abs=0.06)


def test_sound_ends_with_a_picture_that_was_cut_short(tmp_path: Path) -> None:
    tone = sound(tmp_path / "tone.wav", 3.0)
    path = write(tmp_path / "a.mp4", VideoInfo(64, 48, Fraction(10), frames=30), 10, audio_from=tone)
    with av.open(str(path)) as container:
        assert sum(f.samples / f.sample_rate for f in container.decode(audio=0)) == pytest.approx(1.0, abs=0.1)


def test_sound_of_a_part_begins_where_the_part_does(tmp_path: Path) -> None:
    tone = sound(tmp_path / "tone.wav", 3.0)
    info = VideoInfo(64, 48, Fraction(10), frames=30)
    with VideoWriter(tmp_path / "a.mov", info, audio_from=tone) as writer:
        for index in range(20, 30):
            writer.write(Frame(index, info.time_of(index), picture(index - 20)))
    with av.open(str(tmp_path / "a.mov")) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].time == pytest.approx(0.0, abs=0.1)
    assert sum(f.samples / f.sample_rate for f in frames) == pytest.approx(1.0, abs=0.1)


def test_an_interrupted_video_is_valid_and_holds_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"

    def interrupted() -> None:
        with VideoWriter(path, VideoInfo(64, 48, FPS, frames=100)) as writer:
            for index in range(7):
                writer.write(picture(index))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(decoded(path)[1]) == 7
    assert list(tmp_path.iterdir()) == [path]


def test_no_frame_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no frame"), VideoWriter(tmp_path / "a.mp4", VideoInfo(64, 48)):
        pass
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", VideoInfo(64, 48)):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "shot_%03d.png"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    script = f"""
        import resource, signal, numpy as np
        from tapkit.errors import StorageError
        from tapkit.types import VideoInfo
        from tapkit.video.writer import VideoWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
        try:
            with VideoWriter({str(tmp_path / name)!r}, VideoInfo(320, 240)) as writer:
                for _ in range(100):
                    writer.write(noise)
        except StorageError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip().endswith("the disk is full"), run.stderr
    assert "\n" not in run.stdout.strip()
    assert list(tmp_path.iterdir()) == []


def test_png_sequences_are_lossless_and_numbered_like_the_source(tmp_path: Path) -> None:
    info = VideoInfo(63, 47, FPS, frames=2, start_frame=1001)
    for path, first in ((tmp_path / "shot_####.png", "shot_1001.png"), (tmp_path / "folder", "folder/001001.png")):
        write(path, info, 2)
        assert np.array_equal(np.array(Image.open(tmp_path / first)), picture(0, 63, 47))
    assert len(list(tmp_path.rglob("*.png"))) == 4


@pytest.mark.parametrize("name", ["a.avi", "a.mp5", "frame.png"])
def test_an_unusable_name_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        VideoWriter(tmp_path / name, VideoInfo(64, 48))
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", VideoInfo(64, 48)) as writer:
        writer.write(picture(0), 1.0)
        with pytest.raises(ShapeError, match=r"\[48, 64, 3\] uint8, got \[64, 48, 3\]"):
            writer.write(np.zeros((64, 48, 3), np.uint8), 2.0)
        with pytest.raises(UsageError, match="must increase"):
            writer.write(picture(1), 1.0)
    with pytest.raises(UsageError, match="closed"):
        writer.write(picture(1), 2.0)


def test_a_missing_folder_and_missing_sound_are_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no folder"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4", VideoInfo(64, 48))
    with pytest.raises(VideoError, match="sound"):
        VideoWriter(tmp_path / "a.mp4", VideoInfo(64, 48), audio_from=tmp_path / "none.wav")
    assert list(tmp_path.iterdir()) == []
