"""Parts of `tools/gpu_check.py`, one for each question that is asked of a GPU."""
