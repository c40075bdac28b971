import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), *(str(Path(__file__).parents[1] / name) for name in ("models", "engine"))]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated device is a mode of one thread: frames are not made ready in another one."""
    monkeypatch.setattr("tapkit.engine.session.Session.prepares", False)
