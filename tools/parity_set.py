"""Build the small parity set that comes with the code, from the full one.

    python tools/parity_set.py [--from DIR] [--to DIR] [--check]

Copies the cases named in `CASES` byte by byte with their READMEs, seeded.py, and the manifests that these cases
turn out to need (each case is run to find out, and must pass); manifests are compressed, as .json.gz. `--check`
writes nothing and says whether the files in --to are those of --from; exit 1 if not.

The set must stay below 4 MB and run in under a minute on two cores. Choose cases that go through as much of a model
as possible: a case with intermediate values, one over several windows or resolutions, one that resizes.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))

import check_parity  # noqa: E402
from parity import Parity  # noqa: E402

CASES: dict[str, tuple[str, ...]] = {
    "alltracker": ("pair",),
    "alltracker_tiny": ("pair",),
    "bootstapir": ("init128_temp10",),
    "cadexpp": ("layers", "losses", "tracks"),
    "dino_tracker": ("best_buddies", "tracks_tall", "train_step", "vit_tokens"),
    "gmrw": ("direct",),
    "dot": ("every_cell", "tracks_for_queries"),
    "mft": ("forward_backward",),
    "omnimotion": ("flow_filter", "losses", "nets", "tracks"),
    "raft": ("large_pair", "small_padded"),
    "cotracker2": ("online_predictor", "three_windows", "units"),
    "cotracker3_offline": ("eval_single_point", "short", "units"),
    "cotracker3_online": ("streaming", "three_windows", "units"),
    "locotrack": ("base_multires", "small_inference"),
    "pips": ("chain_stride4", "window_stride4"),
    "pips2": ("chain_from0", "window_t12"),
    "pointodyssey_metrics": ("b_30frames",),
    "tapir": ("init128_96x112", "nonsquare_jax"),
    "tapir_causal": ("offline_forward", "online_bootstapir_stream", "online_tapir_insert"),
    "tapnet": ("odd_100x132", "wide_128x192"),
    "tapnext": ("tiny_chunks", "tiny_offline", "tiny_res128"),
    "trackon2": ("memory_extended",),
    "taptr": ("bidir12", "losses", "support_points"),
    "taptrv2": ("bidir12", "losses"),
    "taptrv3": ("t6",),
    "taptrv3_r18": ("rect_t9",),
    "tapvid_metrics": (
        "all_occluded_nan",
        "batch3",
        "redetection",
        "resize_lanczos",
        "sampled_256",
        "sampled_edge",
        "thresholds_rounding",
    ),
}
"""By folder of vectors/."""
LARGEST = 4_000_000
"""Bytes of the whole set."""
README = """# The small parity set

Some cases of every published tracker in tapkit: seeded weights and inputs, and what the authors' own code returned
for them, with intermediate values. `tests/test_parity_set.py` runs them on any clone, and
`python tools/check_parity.py tests/parity_set` prints the differences. All {cases} cases together are
{megabytes:.1f} MB. TAPNext is here in a small size (the published one would take longer than all the rest); all others
have the sizes of the published checkpoints.

- `seeded.py` fills a checkpoint's tensors with fixed pseudo-random numbers and makes the clips and queries.
- `manifests/NAME.json.gz` names the tensors of a published checkpoint.
- `vectors/NAME/*.npz` are the cases, `vectors/NAME/README.md` their arrays, units and tolerances. Those pages describe
  the full set, of which this is a part.

Written by `python tools/parity_set.py` from the full set; do not edit by hand.
"""


@dataclass(frozen=True)
class Noting(Parity):
    """A parity folder that notes which manifests were asked for."""

    asked: set[str] = field(default_factory=set, compare=False)

    def manifest(self, model: str) -> dict[str, Any]:
        """As `Parity.manifest`."""
        self.asked.add(model)
        return super().manifest(model)


def needed_manifests(source: Path) -> list[str]:
    """Names of the manifests that the cases need. Raises `SystemExit` for a case that does not pass."""
    parity = Noting(source)
    for model, names in CASES.items():
        for name in names:
            checks, trouble = check_parity.check_case(source / "vectors" / model / f"{name}.npz", parity)
            failed = [check.output for check in checks if not check.passed]
            if trouble or failed or not checks:
                raise SystemExit(f"{model} {name} does not pass: {trouble or failed or 'nothing compared'}")
            print(f"{model} {name}: {len(checks)} outputs", flush=True)
    return sorted(parity.asked)


def packed(manifest: Path) -> bytes:
    """A manifest as .json.gz; the same bytes on every machine."""
    compact = json.dumps(json.loads(manifest.read_text()), separators=(",", ":"))
    return gzip.compress(compact.encode(), 9, mtime=0)


def build(source: Path, target: Path) -> int:
    """Write the set; returns its size in bytes."""
    manifests = needed_manifests(source)
    for part in ("manifests", "vectors"):  # nothing else: the folder has a ruff.toml of its own
        shutil.rmtree(target / part, ignore_errors=True)
    (target / "README.md").unlink(missing_ok=True)
    (target / "manifests").mkdir(parents=True)
    shutil.copyfile(source / "seeded.py", target / "seeded.py")
    for name in manifests:
        (target / "manifests" / f"{name}.json.gz").write_bytes(packed(source / "manifests" / f"{name}.json"))
    for model, names in CASES.items():
        folder = target / "vectors" / model
        folder.mkdir(parents=True)
        for file in ("README.md", *(f"{name}.npz" for name in names)):
            shutil.copyfile(source / "vectors" / model / file, folder / file)
    count = sum(map(len, CASES.values()))
    (target / "README.md").write_text(README.format(cases=count, megabytes=size_of(target) / 1e6))
    if size_of(target) > LARGEST:
        raise SystemExit(f"the set has {size_of(target)} bytes, more than {LARGEST}: choose smaller cases")
    return size_of(target)


def size_of(folder: Path) -> int:
    """Bytes of all files of the set."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def differences(source: Path, target: Path) -> list[str]:
    """Files of the set that are not what the full set has, or that are missing or too many."""
    wrong = []
    wanted = {f"vectors/{model}/{name}.npz" for model, names in CASES.items() for name in names}
    wanted |= {f"vectors/{model}/README.md" for model in CASES} | {"seeded.py"}
    for name in sorted(wanted):
        if not (target / name).is_file() or (target / name).read_bytes() != (source / name).read_bytes():
            wrong.append(name)
    for path in sorted((target / "manifests").glob("*.json.gz")):
        theirs = source / "manifests" / path.name.removesuffix(".gz")
        if json.loads(gzip.decompress(path.read_bytes())) != json.loads(theirs.read_text()):
            wrong.append(f"manifests/{path.name}")
    found = {path.relative_to(target).as_posix() for path in (target / "vectors").rglob("*") if path.is_file()}
    return wrong + sorted(found - wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=check_parity.shared_parity())
    parser.add_argument("--to", dest="target", type=Path, default=check_parity.SMALL_SET)
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args()
    if not (arguments.source / "seeded.py").is_file():
        raise SystemExit(f"no full parity set in {arguments.source}")
    if arguments.check:
        wrong = differences(arguments.source, arguments.target)
        print("\n".join(wrong) or f"{arguments.target} is what {arguments.source} has")
        return 1 if wrong else 0
    size = build(arguments.source, arguments.target)
    print(f"{arguments.target}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
