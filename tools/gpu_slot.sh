#!/usr/bin/env bash
# One command for a bare machine with a GPU that is lent for minutes: Python 3.12, torch 2.11, NumPy, OpenCV, Pillow and
# safetensors, no network, nothing of tapkit installed. In the source tree:
#
#     tools/gpu_slot.sh [all|check|train] [OPTION of tools/gpu/slot.py ...]
#
# check: tools/gpu_check.py, 4 minutes at most. train: checks itself in the first 20 seconds, then trains strand from the
# package's weights for 9 minutes. all (the default): both. Where a call may take 10 minutes only, make two of them.
# Photographs are taken from .gpu/photos, if they are there; a run is taken up again from .gpu/run.
# $PYTHON names another interpreter. What is to be brought home is written to $OUT (default: gpu-out): at most 8 files of at most 16 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OUT="${OUT:-gpu-out}"
part=all
case "${1:-}" in all | check | train) part=$1 && shift ;; esac
exec "${PYTHON:-python3}" tools/gpu/slot.py "$part" "$@"
