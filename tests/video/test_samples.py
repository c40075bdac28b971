"""The sample clips: small, credited, real."""

import pytest

from tapkit.errors import UsageError
from tapkit.video import open_video, samples


def test_samples_are_small_credited_and_decode():
    names = samples.sample_names()
    paths = [samples.sample(name) for name in names]
    assert "blocks" in names and sum(path.stat().st_size for path in paths) < 1_500_000
    credits = (paths[0].parent / "CREDITS.md").read_text(encoding="utf-8")
    for path in paths:
        assert f"`{path.name}`" in credits
        with open_video(path) as source:
            assert sum(1 for _ in source.frames(size=(8, 8))) == source.info.frames >= 80


def test_an_unknown_sample_names_those_there_are():
    with pytest.raises(UsageError, match="blocks, rabbit"):
        samples.sample("cats")
