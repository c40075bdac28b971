"""Answers brought from the device to the host: one copy for all of them, since the host waits for each."""

from __future__ import annotations

import torch

from tapkit.models.base import Prediction


def to_host(prediction: Prediction) -> Prediction:
    """The prediction [...,2], [...], [...] on the host, float32; as it is, if it is there."""
    if prediction.xy.device.type == "cpu":
        return prediction
    parts = [prediction.xy, prediction.visible[..., None], prediction.confidence[..., None]]
    packed = torch.cat([part.detach().float() for part in parts], -1).cpu()
    return Prediction(packed[..., :2], packed[..., 2], packed[..., 3])
