"""What networks cost of what they did at an earlier commit: both in turn in one run, one thread, CPU time.

    python benchmarks/paired_networks.py [NAME ...] [--against af0fb04] [--pairs 5] [--set KEY=VALUE]

NAME is a module of benchmarks/calls/ that the earlier commit has too (all of those by default). The earlier package is
checked out beside this one (`git worktree`, removed at the end), and each network is built twice, in a process for each
tree, with the same seeded weights. Then calls take turns: one here, one there, so that other work on the machine
disturbs both alike. Printed and stored (benchmarks/results/paired_networks.json) are the median of the pairs' ratios,
their range, the largest difference of what the two return, how much of the original's time that is (the earlier
commit's share of it, benchmarks/results/paired.json, times the ratio), and the peak of the calls' memory over the
built network, with the memory of the built network itself; and how fast one core multiplies matrices, since ratios hold
for that only. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "paired_networks.json"
PAIRED = HERE / "results" / "paired.json"


def numbers_of(value: Any) -> Iterator[np.ndarray]:
    """Every floating-point tensor in what a call returned, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value.detach().float().numpy().ravel()
    elif isinstance(value, dict):
        for each in value.values():
            yield from numbers_of(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from numbers_of(each)


def work(name: str, options: dict[str, Any], vectors: str, save: str) -> None:
    """The process of one tree: builds the network with seeded weights by the manifests in `vectors`, makes a first call
    whose results go to the file `save`, then a call for each line that comes."""
    import importlib

    import torch
    from parity import Parity
    from reference_protocol import _forget_peak, _status_kib

    torch.set_num_threads(1)
    answer = sys.stdout
    sys.stdout = sys.stderr
    before = _forget_peak()
    with torch.inference_mode():
        call = importlib.import_module(f"calls.{name}").reference_call(Parity(Path(vectors)), **options)
        found = list(numbers_of(call()))  # the first call also lays out weights and fills tables
        np.save(save, np.concatenate(found) if found else np.zeros(0, np.float32))
        del found
        built = _forget_peak()
        print(json.dumps({"built_mib": (built - before) / 1024}), file=answer, flush=True)
        for _ in sys.stdin:
            start = time.process_time()
            call()
            took = time.process_time() - start
            said = {"cpu_s": took, "peak_mib": (_status_kib("VmHWM") - built) / 1024}
            print(json.dumps(said), file=answer, flush=True)


class Worker:
    """`work` in a process of its own, which sees one tree's package, calls and seeded weights."""

    def __init__(self, tree: Path, name: str, options: dict[str, Any], vectors: Path, save: Path) -> None:
        folders = [tree / "src", tree / "benchmarks", tree / "tools"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        command = [sys.executable, "-P", __file__, "--work", json.dumps([name, options, str(vectors), str(save)])]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.built_mib: float = self._answer()["built_mib"]

    def call(self) -> dict[str, Any]:
        """CPU seconds and memory of one call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a measured process ended with {self._process.wait()}; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(name: str, now: Path, then: Path, pairs: int, options: dict[str, Any]) -> dict[str, Any]:
    """A network in both trees."""
    from check_parity import parity_root, shared_parity

    vectors = parity_root(shared_parity())
    workers: list[Worker] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{side}.npy" for side in ("now", "then")]
            for tree, file in zip((now, then), files, strict=True):
                workers.append(Worker(tree, name, options, vectors, file))
            ours, theirs = (np.load(file) for file in files)
        taken = [[worker.call() for worker in workers] for _ in range(pairs)]
    finally:
        for worker in workers:
            worker.close()
    ratios = [here["cpu_s"] / there["cpu_s"] for here, there in taken]
    same = ours.shape == theirs.shape and ours.size > 0  # some calls return nothing
    return {
        "ratio": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
        "cpu_s": [statistics.median(pair[side]["cpu_s"] for pair in taken) for side in (0, 1)],
        "peak_mib": [taken[-1][side]["peak_mib"] for side in (0, 1)],
        "built_mib": [worker.built_mib for worker in workers],
        "difference": float(np.abs(ours - theirs).max(initial=0)) if same else None,
    }


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The repository at a commit, in a folder that goes away again."""
    with tempfile.TemporaryDirectory(prefix="tapkit-paired-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--quiet", tree, commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)


def core_gflops(size: int = 1024, runs: int = 5) -> float:
    """How fast one core multiplies square matrices by oneDNN in float32, GFLOP/s: the best of some runs."""
    import torch

    torch.set_num_threads(1)
    a = torch.rand(size, size)
    b = torch.ops.mkldnn._reorder_linear_weight(torch.rand(size, size), None)
    least = float("inf")
    for _ in range(runs):
        start = time.process_time()
        torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        least = min(least, time.process_time() - start)
    return 2 * size**3 / least / 1e9


def names_of(tree: Path) -> list[str]:
    """The networks that a tree can measure."""
    return sorted(path.stem for path in (tree / "benchmarks" / "calls").glob("[a-z]*.py"))


def of_original(name: str, ratio: float) -> float | None:
    """Of the original's time, if this processor is as that was on which the earlier commit was measured beside it; None
    where it never was."""
    row = json.loads(PAIRED.read_text())["networks"].get(name.replace("_", "-"))
    return None if row is None else row["time"] * ratio


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each network, and store all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--against", default="af0fb04", help="the commit whose figures paired.json has")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="option of the models")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.work:
        work(*json.loads(chosen.work))
        return
    if chosen.pairs < 1:
        parser.error("--pairs must be at least 1")
    from reference_protocol import machine, parsed

    options = {"precision": "float32"} | parsed(chosen.set)  # the default since then is bfloat16 where it may be
    with checked_out(chosen.against) as then:
        known = [name for name in names_of(then) if name in names_of(ROOT)]
        unknown = set(chosen.names) - set(known)
        if unknown:
            parser.error(f"not measurable in both: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        stored = json.loads(chosen.output.read_text()) if chosen.output.is_file() else {}
        print(f"| network | of {chosen.against} | range | of the original | difference | built MiB | peak MiB |")
        print("|---|---|---|---|---|---|---|")
        for name in chosen.names or known:
            found = compare(name, ROOT, then, chosen.pairs, options) | {"of_original": of_original(name, 1.0)}
            if found["of_original"] is not None:
                found["of_original"] *= found["ratio"]
            label = ".".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])
            stored[label] = found | {
                "against": chosen.against,
                "pairs": chosen.pairs,
                "machine": machine(),
                "load": os.getloadavg()[0],
                "core_gflops": core_gflops(),
            }
            chosen.output.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
            print(row_of(label, found), flush=True)


def row_of(label: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    low, high = found["range"]
    share = "" if found["of_original"] is None else f"{found['of_original']:.2f}"
    apart = "not compared" if found["difference"] is None else f"{found['difference']:.1e}"
    memory = [f"{here:.0f} / {there:.0f}" for here, there in (found["built_mib"], found["peak_mib"])]
    return f"| {label} | {found['ratio']:.3f} | {low:.3f}-{high:.3f} | {share} | {apart} | {' | '.join(memory)} |"


if __name__ == "__main__":
    main()
