"""Optical flow between two frames, and trackers made of it. The package itself can be called: it is `tapkit.api.flow`.

for pair in tapkit.flow("clip.mp4", model="dis"):
    print(pair.first, pair.second, pair.xy.shape)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """`tapkit.flow` names this package and, in the API, a function: both are served whichever was imported first."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `tapkit.api.flow`."""
        return import_module("tapkit.api").flow(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
