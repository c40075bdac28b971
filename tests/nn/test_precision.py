"""The choice of the features' floating-point type."""

from __future__ import annotations

import pytest
import torch

from tapkit.errors import UsageError
from tapkit.nn.precision import feature_dtype


def test_what_is_named_is_taken() -> None:
    assert feature_dtype("float32", torch.device("cpu")) == torch.float32
    assert feature_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert feature_dtype("auto", torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert feature_dtype("auto", torch.device("cpu")) == torch.bfloat16


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match='precision must be "auto"'):
        feature_dtype("fp16", torch.device("cpu"))
