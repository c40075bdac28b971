"""Run every parity case of a folder and print a table; exit 1 if any fails.

    python tools/check_parity.py [DIR] [--model NAME ...] [--json FILE]

DIR is a parity folder, a vectors folder, or the folder of one model. Default: $TAPKIT_PARITY, else the full set
where it lies beside the checkout, else the small one that comes with the code (tests/parity_set). seeded.py and
manifests/ are looked for in DIR and above it, then in the default folder. A case whose folder has no runner in
tools/parity/ is listed as "not implemented" and does not fail.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

TOOLS = Path(__file__).resolve().parent
SMALL_SET = TOOLS.parent / "tests" / "parity_set"
"""Some cases of each model, kept with the code (made by tools/parity_set.py)."""
sys.path.insert(0, str(TOOLS))

from parity import Check, Parity  # noqa: E402


def shared_parity() -> Path:
    """The folder with all cases: $TAPKIT_PARITY, or beside the checkout. It need not exist."""
    named = os.environ.get("TAPKIT_PARITY")
    return Path(named) if named else TOOLS.parent.parent / "shared" / "parity"


def default_folder() -> Path:
    """All cases where they are to be had, else the small set."""
    return shared_parity() if shared_parity().is_dir() or "TAPKIT_PARITY" in os.environ else SMALL_SET


def parity_root(folder: Path) -> Path:
    """Where seeded.py and the manifests for the cases in `folder` lie."""
    for candidate in (folder, *folder.resolve().parents, default_folder()):
        if (candidate / "seeded.py").is_file() and (candidate / "manifests").is_dir():
            return candidate
    raise SystemExit(f"no seeded.py with manifests/ in {folder}, above it, or in {default_folder()}")


def cases(folder: Path) -> list[Path]:
    """All .npz cases in a parity folder, a vectors folder or the folder of one model."""
    vectors = folder / "vectors" if (folder / "vectors").is_dir() else folder
    return sorted(vectors.glob("*.npz")) or sorted(vectors.glob("*/*.npz"))


def runner(model: str):
    """The `run` function for the cases in folder `model`, or None."""
    if not (TOOLS / "parity" / f"{model}.py").is_file():
        return None
    return importlib.import_module(f"parity.{model}").run


def check_case(path: Path, parity: Parity) -> tuple[list[Check], str]:
    """The checks of one case, and what went wrong where there are none."""
    run = runner(path.resolve().parent.name)
    if run is None:
        return [], "not implemented"
    try:
        with np.load(path, allow_pickle=False) as file:
            case = {key: file[key] for key in file.files}
        return list(run(case, path.stem, parity)), ""
    except Exception:
        return [Check("(raised)", float("inf"), 0.0)], traceback.format_exc()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=None)
    parser.add_argument("--model", action="append", help="only these folders of vectors/ (repeatable)")
    parser.add_argument("--json", type=Path, help="write all rows there too")
    arguments = parser.parse_args()
    folder = arguments.folder or default_folder()
    found = [p for p in cases(folder) if not arguments.model or p.resolve().parent.name in arguments.model]
    if not found:
        raise SystemExit(f"no .npz cases in {folder}")
    parity = Parity(parity_root(folder))
    rows, failed = [], 0
    print(f"{'model':20} {'case':26} {'output':34} {'difference':>12} {'tolerance':>10}  verdict")
    for path in found:
        started = time.perf_counter()
        checks, trouble = check_case(path, parity)
        model = path.resolve().parent.name
        if not checks:
            print(f"{model:20} {path.stem:26} {'-':34} {'-':>12} {'-':>10}  {trouble or 'nothing compared'}")
            failed += trouble == ""
            rows.append({"model": model, "case": path.stem, "verdict": trouble or "nothing compared"})
            continue
        for check in checks:
            verdict = "ok" if check.passed else "FAIL"
            failed += not check.passed
            figures = f"{check.difference:12.3g} {check.tolerance:10.1g}"
            print(f"{model:20} {path.stem:26} {check.output:34} {figures}  {verdict}")
            rows.append({"model": model, "case": path.stem, **check._asdict(), "verdict": verdict})
        if trouble:
            print(trouble, file=sys.stderr)
        rows[-1]["seconds"] = round(time.perf_counter() - started, 2)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    print(f"{sum(r['verdict'] == 'ok' for r in rows)} ok, {failed} failed, {len(found)} cases")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
