"""Build the source archive and the wheel, look into them, install the wheel elsewhere and use it.

python tools/check_dist.py dist     # what `make dist` runs; exit 1 with one line for each thing that is wrong
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST = 25e6
"""Bytes that the wheel may have: the weights of strand are 9.9 MB of them."""
NEEDED = (
    "tapkit/py.typed",
    "tapkit/models/strand/strand.safetensors",
    "tapkit/models/strand/strand.json",
    "tapkit/video/samples/blocks.mp4",
    "tapkit/video/samples/rabbit.mp4",
    "tapkit/video/samples/CREDITS.md",
    "tapkit/export/templates/after_effects.jsx",
    "tapkit/export/templates/blender.py.txt",
    "tapkit/evaluation/report.css",
    "tapkit/web/page/index.html",
)
UNWANTED = ("tests/", "tools/", "docs/", "benchmarks/", "examples/", ".ci/", "__pycache__", ".pyc", "/site/")
USE = """
import pathlib, sys, tapkit
from tapkit.video.samples import sample
assert pathlib.Path(tapkit.__file__).is_relative_to(sys.prefix), tapkit.__file__
assert len(tapkit.cards()) >= 16
tracks = tapkit.Tracks.load("blocks.tracks.npz")
assert tracks.xy.shape == (4, 100, 2) and tracks.source.model == "strand", tracks
tracks.to_nuke("shot.nk")
tracks.to_ae_script("script.jsx")
print("used", tracks)
"""


def main(target: Path) -> int:
    """Everything in turn; what is built stands in `target` only if all of it is right."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        archive, wheel = build(work)
        problems += content(wheel) + metadata(wheel) + source(archive, wheel, work)
        problems += use(wheel, work)
        if not problems:
            target.mkdir(exist_ok=True)
            for path in (archive, wheel):
                (target / path.name).write_bytes(path.read_bytes())
                print(f"{target / path.name}  {path.stat().st_size / 1e6:.1f} MB")
    for problem in problems:
        print(f"wrong: {problem}")
    return 1 if problems else 0


def run(*command: str | Path, **options: object) -> str:
    """What the command prints; if it fails, all of that, and SystemExit."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def build(work: Path) -> tuple[Path, Path]:
    """The source archive of the checkout, and the wheel built from that archive (what an index would do)."""
    tools = work / "build"
    venv.create(tools, with_pip=True)
    python = program(tools, "python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "build", "hatchling")
    run(python, "-m", "build", "--no-isolation", "--outdir", work / "out", ROOT)
    archives, wheels = list((work / "out").glob("*.tar.gz")), list((work / "out").glob("*.whl"))
    if len(archives) != 1 or len(wheels) != 1:
        raise SystemExit(f"expected one archive and one wheel, got {archives + wheels}")
    return archives[0], wheels[0]


def program(environment: Path, name: str) -> Path:
    """A program of a virtual environment."""
    windows = os.name == "nt"
    return environment / ("Scripts" if windows else "bin") / (name + (".exe" if windows else ""))


def content(wheel: Path) -> list[str]:
    """What the wheel lacks, and what it should not have."""
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "tapkit").rglob("*.py")}
    page = ROOT / "src" / "tapkit" / "web" / "page"
    modules |= {path.relative_to(ROOT / "src").as_posix() for path in page.rglob("*") if path.is_file()}
    problems = [f"the wheel lacks {name}" for name in sorted({*NEEDED, *modules} - set(names))]
    problems += [f"the wheel has {name}" for name in names if any(f"/{part}" in f"/{name}" for part in UNWANTED)]
    if wheel.stat().st_size > LARGEST:
        problems.append(f"the wheel has {wheel.stat().st_size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}")
    return problems


def metadata(wheel: Path) -> list[str]:
    """What is wrong with the metadata."""
    version = (ROOT / "src/tapkit/_version.py").read_text().split('__version__ = "')[1].split('"')[0]
    with zipfile.ZipFile(wheel) as files:
        about = next(name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(files.read(about))
        points = files.read(about.replace("METADATA", "entry_points.txt")).decode()
        licences = [name for name in files.namelist() if name.endswith("licenses/LICENSE")]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = {
        "the name": told["Name"] == "tapkit",
        f"the version, which is not {version}": told["Version"] == version,
        "the Python versions": "3.11" in str(told["Requires-Python"]),
        "the licence": told["License-Expression"] == "Apache-2.0" and bool(licences),
        "the description's type": told["Description-Content-Type"] == "text/markdown",
        "the description, which is not README.md": str(told.get_payload()).strip() == readme.strip(),
        "the extras": {"all", "cv", "onnx", "zarr"} <= set(told.get_all("Provides-Extra") or ()),
        "torch among the requirements": any(r.startswith("torch") for r in told.get_all("Requires-Dist") or ()),
        "the command": "tapkit = tapkit.cli.main:main" in points,
    }
    return [f"the metadata: {what}" for what, right in wanted.items() if not right]


def source(archive: Path, wheel: Path, work: Path) -> list[str]:
    """What the source archive lacks: all that the repository has under version control belongs into it."""
    with tarfile.open(archive) as files:
        names = {name.split("/", 1)[1] for name in files.getnames() if "/" in name}
    tracked = run("git", "ls-files", "src", "README.md", "LICENSE", "pyproject.toml", cwd=ROOT).split("\n")
    return [f"the source archive lacks {name}" for name in tracked if name and name not in names]


def use(wheel: Path, work: Path) -> list[str]:
    """Install into a new environment and work there, outside of the checkout."""
    fresh, away = work / "fresh", work / "away"
    venv.create(fresh, with_pip=True)
    away.mkdir()
    python = program(fresh, "python")
    lend_torch(fresh)
    limits = os.environ.get("CONSTRAINTS", str(ROOT / "constraints.txt"))
    limit = ["--constraint", limits] if limits else []
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *limit, wheel)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TAPKIT_WEIGHTS")}
    tapkit = program(fresh, "tapkit")

    def there(*command: str | Path) -> str:
        return run(*command, cwd=away, env=environment)

    print(there(tapkit, "--version").strip())
    there(tapkit, "models")
    there(tapkit, "export", "--list")
    clip = there(python, "-c", "from tapkit.video.samples import sample; print(sample())").strip()
    print(there(tapkit, "track", clip, "--grid", "2", "-o", "blocks.tracks.npz", "--overlay", "o.mp4").strip())
    print(there(python, "-c", USE).strip())
    return []


def lend_torch(fresh: Path) -> None:
    """Let the new environment see this one's torch (and no tapkit): its hundreds of megabytes need not come again."""
    ours = Path(sysconfig.get_path("purelib"))
    if not (ours / "torch").is_dir():
        return
    theirs = Path(run(program(fresh, "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for path in ours.iterdir():
        if path.name.split("-")[0] in TORCH and not (theirs / path.name).exists():
            (theirs / path.name).symlink_to(path, target_is_directory=path.is_dir())


TORCH = {"torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock"}
"""What a CPU build of torch consists of and needs."""

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist")))
