"""Count what differs from scene to scene, beside what PointOdyssey's paper says of its own set.

    python benchmarks/scene_variety.py [ASSETS]     # 20 scenes of each kind; no folder: procedural alone

Prints the two tables of docs/reference/scene.md. Nothing is rendered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tapkit.generate.scene.catalogue import Catalogue
from tapkit.generate.scene.description import KINDS, describe
from tapkit.generate.scene.variety import PUBLISHED, SEEDS, counted, reachable

EACH = 20


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", nargs="?", type=Path, help="folder with models, photos, textures, hdri, panoramas")
    catalogue = Catalogue.read(parser.parse_args().assets)
    print("| to draw from | count |\n|---|---|")
    for name, count in reachable(catalogue).items():
        print(f"| {name} | {'by seed' if count == SEEDS else count} |")
    counts = counted(describe(kind, seed, assets=catalogue) for kind in KINDS for seed in range(EACH))
    print(f"\n| in {counts['scenes']} scenes | count | PointOdyssey's paper |\n|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count} | {PUBLISHED.get(name, '')} |")


if __name__ == "__main__":
    main()
