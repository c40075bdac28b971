"""What our networks cost, measured as parity/reference_cost.md measured the originals.

    python benchmarks/reference_protocol.py [NAME ...] [--set precision=bfloat16] [--repeat 3] [--list] [--docs]

NAME is a module of benchmarks/calls/ (all of them by default). Each is measured in a fresh process with one thread:
process CPU time of the second of two runs, divided by `parity/calibrate.py`'s workload timed in the same process (mean
of one before and one after); peak = growth of the resident memory's high-water mark over the built model. With
--repeat the median ratio of that many processes is reported (other work on the machine disturbs even CPU time).
The table is printed, and every measurement stored in benchmarks/results/reference_protocol/NAME[.OPTIONS].json; --docs
copies the stored figures into the documentation, each with its processor.
The original's figures are stored too, but never divided by: the workload's multiples differ between kinds of
processors, and those were taken on another machine. What a network costs of the original's is only known where both
ran in turn in one run: benchmarks/results/paired.json, which --docs copies as well.
Linux only (peak memory comes from /proc).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "reference_protocol"
PAIRED = HERE / "results" / "paired.json"
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]


def names() -> list[str]:
    """The measurable networks: the modules of benchmarks/calls/."""
    return sorted(path.stem for path in (HERE / "calls").glob("[a-z]*.py"))


def reference_rows(root: Path) -> dict[str, dict[str, Any]]:
    """The table of reference_cost.md by its first column: how it was called, ratio, peak in MiB."""
    rows = {}
    for line in (root / "reference_cost.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 7 and re.fullmatch(r"[\d.]+", cells[4]):
            rows[cells[0]] = {"call": cells[1], "ratio": float(cells[4]), "peak_mib": float(cells[5])}
    return rows


def _status_kib(field: str) -> int:
    """A line of /proc/self/status in KiB (VmRSS: resident now, VmHWM: its high-water mark)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def _forget_peak() -> int:
    """Give freed memory back, reset the high-water mark, and return the resident memory in KiB."""
    gc.collect()
    with contextlib.suppress(
        OSError, AttributeError
    ):  # memory freed after building must not hide what the runs allocate
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status_kib("VmRSS")


def measure(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """One measurement in this process, which must be fresh."""
    import torch
    from check_parity import parity_root, shared_parity
    from parity import Parity

    torch.set_num_threads(1)
    parity = Parity(parity_root(shared_parity()))
    spec = importlib.util.spec_from_file_location("calibrate", parity.root / "calibrate.py")
    assert spec is not None and spec.loader is not None
    workload = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(workload)
    module = importlib.import_module(f"calls.{name}")

    def calibrate() -> float:
        return workload.calibrate(clock=time.process_time)

    with torch.inference_mode():
        call = module.reference_call(parity, **options)
        before = calibrate()
        built = _forget_peak()
        seconds = []
        for _ in range(2):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
        peak = _status_kib("VmHWM") - built
        after = calibrate()
    unit = (before + after) / 2
    return {
        "name": name,
        "options": options,
        "cpu_s": seconds[1],
        "first_run_cpu_s": seconds[0],
        "calibrate_s": unit,
        "calibrate_drift": after / before - 1,
        "ratio": seconds[1] / unit,
        "peak_mib": peak / 1024,
        "reference": reference_rows(parity.root).get(module.REFERENCE),
    }


def machine() -> dict[str, str]:
    """What the figures were taken on. Processors of one name may be of several kinds; family and model tell them."""
    import torch

    told = Path("/proc/cpuinfo").read_text()
    found = [re.search(rf"^{field}\s*: (.*)", told, re.M) for field in ("model name", "cpu family", "model")]
    cpu = ", ".join(f"{name}{one.group(1)}" for name, one in zip(("", "family ", "model "), found, strict=True) if one)
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "cpu": cpu or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def in_fresh_process(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """`measure` in a new interpreter with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", json.dumps([name, options])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(name: str, options: dict[str, Any], repeat: int) -> None:
    """Measure one network, print its row, store the measurements."""
    runs = [in_fresh_process(name, options) for _ in range(repeat)]
    ratio = statistics.median(run["ratio"] for run in runs)
    peak = statistics.median(run["peak_mib"] for run in runs)
    label = ".".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])
    reference = runs[0]["reference"]
    print(f"{label:44} {ratio:7.2f} {peak:9.0f}", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    stored = {"name": name, "options": options, "ratio": ratio, "peak_mib": peak, "reference": reference}
    stored |= {"machine": machine(), "runs": runs}
    (RESULTS / f"{label}.json").write_text(json.dumps(stored, indent=1) + "\n")


def table(labels: list[str]) -> str:
    """The stored measurements of these labels (NAME or NAME.OPTIONS) as a Markdown table."""
    rows = ["| called as | multiples of the fixed workload | peak MiB | one core of |", "|---|---|---|---|"]
    for label in labels:
        stored = json.loads((RESULTS / f"{label}.json").read_text())
        measured = stored["machine"]
        where = f"{measured['cpu']} ({measured['capability']}), torch {measured['torch']}, {measured['date']}"
        rows.append(f"| {label} | {stored['ratio']:.1f} | {stored['peak_mib']:.0f} | {where} |")
    return "\n".join(rows)


def paired(names: list[str]) -> str:
    """What these networks cost of the original's, where both ran in turn in one run, as a Markdown table."""
    stored = json.loads(PAIRED.read_text())
    lines = [
        f"Of the original's, both in turn in one run ({stored['case']} of {stored['processor']};",
        "median of the pairs, the outputs agree; `benchmarks/results/paired.json`):",
        "",
        "| | CPU time | peak memory over the loaded model | CPU time in bfloat16, of the original's float32 |",
        "|---|---|---|---|",
    ]
    for name in names:
        row = stored["networks"][name]
        half = "" if row["bfloat16"] is None else f"{row['bfloat16']:.2f}"
        lines.append(f"| {name} | {row['time']:.2f} | {row['peak']:.2f} | {half} |")
    for name in names:
        whole = stored["whole_calls"].get(name)
        if whole:
            call = f"A whole call of {name} ({stored['whole_calls']['case']}, same machine)"
            shares = f"{whole['wall']:.2f} of the original's wall time, {whole['growth']:.2f} of its growth in memory"
            lines += ["", f"{call}: {shares}."]
    return "\n".join(lines)


def write_docs(folder: Path) -> None:
    """Put the tables into the pages of `folder` that ask for them.

    <!-- cost: LABEL ... --> up to <!-- /cost -->, and <!-- paired: NAME ... --> up to <!-- /paired -->.
    """
    for page in sorted(folder.glob("**/*.md")):
        before = after = page.read_text()
        for kind, make in (("cost", table), ("paired", paired)):
            asked = re.compile(rf"(<!-- {kind}: ([^>]*?) -->\n).*?(<!-- /{kind} -->)", re.DOTALL)
            after = asked.sub(lambda found, make=make: f"{found[1]}{make(found[2].split())}\n{found[3]}", after)
        if after != before:
            page.write_text(after)
            print(f"updated {page}")


def parsed(texts: list[str]) -> dict[str, Any]:
    """Options given as KEY=VALUE; a value that is no JSON is text."""
    options: dict[str, Any] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="modules of benchmarks/calls/ (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the factory")
    parser.add_argument("--repeat", type=int, default=1, help="fresh processes to take the median of")
    parser.add_argument("--list", action="store_true", help="only say which names there are")
    parser.add_argument("--docs", action="store_true", help="only put the stored results into the pages of docs/")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(*json.loads(arguments.child))))
        return 0
    if arguments.docs:
        write_docs(HERE.parent / "docs")
        return 0
    if arguments.list:
        print("\n".join(names()))
        return 0
    unknown = sorted(set(arguments.names) - set(names()))
    if unknown:
        parser.error(f"no benchmarks/calls/{unknown[0]}.py; there are: {', '.join(names())}")
    options = parsed(arguments.set)
    print(f"{'network':44} {'ratio':>7} {'peak MiB':>9}")
    for name in arguments.names or names():
        report(name, options, max(arguments.repeat, 1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
