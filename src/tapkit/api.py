"""The few functions most people need: load, track, draw, open_video. Here, and only here, a device is chosen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tapkit import registry
from tapkit import weights as stored
from tapkit.engine.control import Control, Progress
from tapkit.engine.fitted import FittedTracker, fit_video, is_fit, load_fit
from tapkit.engine.offline import Direction
from tapkit.engine.progress import check_reporter, drawn, reporting
from tapkit.engine.several import SeveralDevices, at_once
from tapkit.engine.tracker import Tracker
from tapkit.errors import ShapeError, UsageError
from tapkit.models.torch_model import TorchModel
from tapkit.sinks.base import Sink
from tapkit.types import Dense, Keyframes, Queries, Tracks
from tapkit.video import open_video
from tapkit.video.base import Source
from tapkit.video.using import using

if TYPE_CHECKING:
    from tapkit.flow.base import ClipFlowModel, FlowModel
    from tapkit.flow.stream import PairFlow, Pairs
    from tapkit.per_video.fit import Progress as FitProgress

__all__ = [
    "choose_device",
    "choose_devices",
    "draw",
    "fit",
    "flow",
    "load",
    "load_dense",
    "load_for",
    "make_queries",
    "network",
    "open_video",
    "retrack",
    "track",
    "track_batch",
    "track_dense",
]


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU. Raises `UsageError`."""
    if str(device) != "auto":
        try:
            chosen = torch.device(device)
            torch.zeros(1, device=chosen)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise UsageError(f"device {device!s} cannot be used here: {first}") from error
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_devices(device: str | torch.device = "auto") -> list[torch.device]:
    """The devices of a list such as "cuda:0,cuda:1"; one, of a single name. Raises `UsageError`."""
    if isinstance(device, torch.device):
        return [choose_device(device)]
    names = [name.strip() for name in device.split(",")]
    if len(names) > 1 and ("auto" in names or "" in names):
        raise UsageError(f'several devices are named one by one, such as "cuda:0,cuda:1", got {device!r}')
    return [choose_device(name) for name in names]


def load(
    model: str = registry.DEFAULT,
    weights: str | Path | Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    report: stored.Report | None = None,
    *,
    compile: bool | str | None = None,
    **options: Any,
) -> Tracker:
    """A tracker, ready to use.

    Args:
        model: registry id (`tapkit.cards()` has them all; `tapkit models` prints them), or the folder of a `fit`.
        weights: a path, a state dict with the authors' key names, or None for the official file (looked for in
            $TAPKIT_WEIGHTS and the cache, else downloaded).
        device: "auto", "cpu", "cuda", "cuda:1", "mps"; or several, "cuda:0,cuda:1": the points of a video are shared
            out among them where trackers take each point for itself, the videos of `track_batch` for all others.
        report: called while downloading with bytes done and bytes in all.
        compile: None: on CUDA, frame by frame trackers record their step as a CUDA graph where that is measured to
            be faster and to give the same (see docs/how-to/gpu.md); else nothing. True: also make the network's parts
            kernels of this machine by `torch.compile` (or by that backend of it); takes a minute or two at the first
            frames, and again for other frame sizes. Checked with strand. False: neither.
        options: of the model, see its page; `precision="auto"|"float32"|"bfloat16"` for networks. Not said, it is
            "auto" (bfloat16 where the processor multiplies in it) for trackers of our own and for the published ones
            that it hardly moves (`ModelCard.half_precision_is_safe`), else "float32". Evaluations compute published
            networks in float32 unless told otherwise.

    Raises `UsageError` for an unknown id or option, `WeightsError` for weights that are missing, damaged or of
    another model.
    """
    if is_fit(model):
        if weights is not None or options:
            raise UsageError(f"{model} is a fit: its weights and options are its own")
        return load_fit(model, choose_device(device))
    card = registry.card(model)
    if card.streaming == "pairwise":
        raise UsageError(
            f"{model} computes flow between two frames: use tapkit.flow, or a tracker made of flow, such as "
            f"flow-chain with flow={model}"
        )
    state, path = stored.given_or_official(card, weights, report)
    digest = ""
    if state is not None:
        digest = stored.sha256_of(state) if path is None else stored.sha256(path)
    chosen = {**registry.when_loaded(card), **options}
    copies = []
    for place in choose_devices(device):
        copies.append(registry.build(model, state, **chosen).to(place))
        if compile:
            _compile(copies[-1], "inductor" if compile is True else compile)
        elif compile is False and isinstance(copies[-1], TorchModel):
            copies[-1].fixed_steps = False
    return Tracker(copies[0] if len(copies) == 1 else SeveralDevices(copies), digest)


def _compile(model: Any, backend: str) -> None:
    """Compile the network of a model. Raises `UsageError` where there is none, or nothing to compile it with."""
    import shutil

    if not isinstance(model, TorchModel):
        raise UsageError(f"{model.card.id} has no network to compile")
    known = {"eager", *torch.compiler.list_backends(exclude_tags=())}
    if backend not in known:
        raise UsageError(f"torch.compile has no backend {backend!r} here (known: {', '.join(sorted(known))})")
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++", "cl") if name]
    if backend == "inductor" and model.device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise UsageError("to compile for the CPU, torch needs a C++ compiler (g++ or clang++), and there is none here")
    model.compile(backend)


def make_queries(
    source: Source,
    queries: Any = None,
    *,
    grid: int | tuple[int, int] | None = None,
    mask: Any = None,
    corners: int | None = None,
    random: int | None = None,
    frame: int = 0,
    seed: int = 0,
) -> Queries:
    """Points for a video: `queries` themselves, and/or a grid, a mask, corners or random points of `frame`.

    Corners of a live source are those of the frame that it will give next, which is not lost by it.
    """
    if isinstance(queries, Tracks):
        queries = queries.queries
    elif isinstance(queries, Keyframes):
        queries = queries.queries()
    parts = [] if queries is None else [Queries.of(queries)]
    size = source.info.size
    if grid is not None:
        parts.append(Queries.grid(size, grid, frame))
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != size:
            raise UsageError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the video {size[1]}x{size[0]}")
        parts.append(Queries.mask(mask, count=None, step=max(round((mask != 0).sum() ** 0.5 / 24), 1), frame=frame))
    if corners is not None:
        parts.append(Queries.corners(_picture(source, frame), corners, frame))
    if random is not None:
        parts.append(Queries.random(size, random, np.random.default_rng(seed), frame=frame))
    if len(parts) == 1:
        return parts[0]
    joined = [p.with_ids(np.arange(len(p))) for p in parts]
    first = np.cumsum([0] + [len(p) for p in joined])
    return Queries.join([p.with_ids(start + np.arange(len(p))) for start, p in zip(first, joined, strict=False)])


def _picture(source: Source, frame: int) -> np.ndarray:
    if not source.live:
        return source.read(frame).image
    first = source.peek()
    if first.index != frame:
        raise UsageError(f"corners of a live source are those of the frame that comes next, {first.index}, not {frame}")
    return first.image


def track(
    video: Any,
    queries: Any = None,
    *,
    model: str = registry.DEFAULT,
    grid: int | tuple[int, int] | None = None,
    mask: Any = None,
    corners: int | None = None,
    random: int | None = None,
    frame: int = 0,
    direction: Direction = "both",
    memory: str | int | None = None,
    device: str | torch.device = "auto",
    weights: str | Path | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], object] | bool | None = None,
    keyframes: Keyframes | None = None,
    sinks: Sequence[Sink] = (),
    control: Control | None = None,
    **options: Any,
) -> Tracks:
    """Track points through a video.

        tracks = tapkit.track("clip.mp4", grid=20)
        tracks = tapkit.track("clip.mp4", queries=[(0, 310.5, 122.0)], model="cotracker3-offline", device="cuda")

    Args:
        video: a file, a folder or pattern of images, an array or tensor, an iterator of frames, a `Source`.
        queries: rows (t, x, y) or `Queries`: frame, and position in pixels, corner origin. Or `Tracks`: their points
            are tracked again, through the keyframes that a human set; their skeleton is kept. Or `Keyframes`: the
            points that they are of.
        grid, mask, corners, random: points of `frame` instead, or as well: a regular grid of that many points a
            side, the inside of a mask [H,W], that many corners, that many random points.
        direction: "both" (from each query's frame to both ends), "forward", "backward".
        memory: a budget such as "2GB".
        device, weights, options: see `load`.
        progress: called after every frame with a `Progress`; True shows a bar, False nothing.
        keyframes, sinks, control: see `Tracker.track`.
    """
    if queries is None and grid is None and mask is None and corners is None and random is None:
        raise UsageError("say which points: queries=[(t, x, y), ...], grid=, mask=, corners= or random=")
    if keyframes is None and isinstance(queries, Tracks):
        keyframes = queries.keyframes()
    elif keyframes is None and isinstance(queries, Keyframes):
        keyframes = queries
    if not isinstance(progress, bool) and progress is not None:
        check_reporter(progress)
    with using(video) as source:  # first of all: a name mistyped must not cost a download of weights
        tracker = load(model, weights, device, **options)
        points = make_queries(source, queries, grid=grid, mask=mask, corners=corners, random=random, frame=frame)
        return tracker.track(
            source, points, direction, memory, progress, keyframes=keyframes, sinks=sinks, control=control,
            skeleton=queries.skeleton if isinstance(queries, Tracks) else None,
        )  # fmt: skip


def retrack(
    video: Any,
    tracks: Tracks,
    keyframes: Keyframes | None = None,
    *,
    model: str | None = None,
    memory: str | int | None = None,
    device: str | torch.device = "auto",
    weights: str | Path | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], object] | None = None,
    **options: Any,
) -> Tracks:
    """Corrected tracks: only what lies next to new keyframes is tracked again, all else is kept bit for bit.

        better = tapkit.retrack("clip.mp4", tracks, tapkit.Keyframes.of([("nose", 40, 310.5, 122.0)]))

    Args:
        video: the one that was tracked.
        tracks: the result to correct. Keyframes in it that it does not pass through yet (moved in another program,
            say, and imported) are taken up too.
        keyframes: where points really are. One on the frame of another keyframe of its point takes its place.
        model: None: the tracker that made the tracks, with its options, or the built-in one if none is known.
        memory, device, weights, options: as for `track`.
        progress: called after every frame that is tracked again.

    Returns tracks that pass through all keyframes. Raises `QueryError` for a keyframe of an unknown point, `UsageError`
    for tracks of another video; else as `track`.
    """
    from tapkit.engine.retrack import plan_retrack, with_keyframes
    from tapkit.engine.retrack import retrack as again

    with using(video) as source:
        corrected = tracks if keyframes is None else with_keyframes(tracks, keyframes)
        plan = plan_retrack(corrected)
        tracker = load_for(corrected, model, weights, device, **options)
        return again(tracker, source, corrected, memory=memory, progress=progress, plan=plan)


def load_for(
    tracks: Tracks,
    model: str | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    report: stored.Report | None = None,
    **options: Any,
) -> Tracker:
    """The tracker that made `tracks`, with its options; `options` given here go before them.

    With `model`, that one instead (with its own options if it made the tracks). Arguments and errors as for `load`.
    """
    made = tracks.source
    chosen = model or (made.model if made.model in registry.cards() else registry.DEFAULT)
    if chosen != made.model:
        return load(chosen, weights, device, report, **options)
    same = {name: value for name, value in made.options.items() if name not in OF_THE_CALL}
    return load(chosen, weights, device, report, **{**same, **options})


OF_THE_CALL = frozenset({"direction", "memory", "keyframes", "through", "edits", "kept_from", "live"})
"""Options in a result's provenance that are those of a call or of what was done later, not of the model."""


def track_batch(
    videos: Any,
    queries: Any = None,
    *,
    model: str | Tracker = registry.DEFAULT,
    device: str | torch.device = "auto",
    weights: str | Path | Mapping[str, Any] | None = None,
    direction: Direction = "both",
    memory: str | int | None = None,
    grid: int | tuple[int, int] | None = None,
    progress: Callable[[Progress], object] | bool | None = None,
    **options: Any,
) -> list[Tracks]:
    """Track through a batch of videos of one size, as data loaders give them; the tracker is loaded once.

        batch = torch.rand(4, 24, 3, 256, 256)                       # [B,T,3,H,W], values as `open_video` takes them
        results = tapkit.track_batch(batch, queries)                  # queries [4,N,3]: t, x, y

    Args:
        videos: array or tensor [B,T,3,H,W] or [B,T,H,W,3], on any device.
        queries: one entry for each video: [B,N,3], or a list of what `track` takes.
        model: an id, or a tracker that is loaded (`device`, `weights` and `options` then stay unused).
        grid, direction, memory, progress: as for `track`. On several devices (see `load`) as many videos are tracked at
            the same time, and `progress` is called from each.

    Returns one `Tracks` for each video. Raises `ShapeError` for other shapes and numbers, and as `track` does.
    """
    shape = [int(n) for n in getattr(videos, "shape", ())]
    if len(shape) != 5 or 3 not in (shape[2], shape[4]):
        raise ShapeError(
            f"a batch of videos is an array [B,T,3,H,W] or [B,T,H,W,3], got {shape or type(videos).__name__}"
        )
    if queries is None and grid is None:
        raise UsageError("say which points: queries= with one entry for each video, or grid=")
    if queries is not None and len(queries) != shape[0]:
        raise ShapeError(f"{shape[0]} videos need as many entries of queries, got {len(queries)}")
    tracker = model if isinstance(model, Tracker) else load(model, weights, device, **options)
    layout = "TCHW" if shape[2] == 3 else "THWC"

    def some(one: Tracker, indices: range) -> list[Tracks]:
        found = []
        for index in indices:
            with open_video(videos[index], layout=layout) as source:
                points = make_queries(source, None if queries is None else _rows(queries[index]), grid=grid)
                found.append(one.track(source, points, direction, memory, progress))
        return found

    if not isinstance(tracker.model, SeveralDevices):
        return some(tracker, range(shape[0]))
    each = [Tracker(copy, tracker.weights_sha256) for copy in tracker.model.copies]
    shares = [range(number, shape[0], len(each)) for number in range(len(each))]
    with ThreadPoolExecutor(len(each)) as threads:
        done = at_once(threads, some, each, shares)
    return [done[index % len(each)][index // len(each)] for index in range(shape[0])]


def _rows(queries: Any) -> Any:
    """Queries of one video; a tensor of any device as an array."""
    return queries.detach().cpu().numpy() if isinstance(queries, torch.Tensor) else queries


def network(
    model: str = registry.DEFAULT,
    weights: str | Path | Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    report: stored.Report | None = None,
) -> torch.nn.Module:
    """The network of a tracker as a `torch.nn.Module` with gradients: (video [B,T,3,H,W], queries [B,N,3]) -> tracks.

        network = tapkit.network("strand")
        said = network(video, queries)                    # said.xy [B,N,T,2], said.visible: logits, said.valid
        said.xy[said.valid].sum().backward()
        tracker = tapkit.load("strand", weights=network.state_dict())

    Arguments as for `load`. Raises `UsageError` for trackers that have none; `WeightsError`.
    """
    card = registry.card(model)
    if not card.trainable:
        registry.trainable(model)  # says which have one, before weights are fetched
    state, _ = stored.given_or_official(card, weights, report)
    found: torch.nn.Module = registry.trainable(model, state).to(choose_device(device))
    return found


def track_dense(
    video: Any,
    frame: int = 0,
    path: str | Path | None = None,
    *,
    step: int = 1,
    model: str = "cotracker3-offline",
    memory: str | int | None = "2GB",
    direction: Direction = "both",
    device: str | torch.device = "auto",
    weights: str | Path | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], object] | bool | None = None,
    control: Control | None = None,
    **options: Any,
) -> Path:
    """Track every pixel (or every `step`-th) of one frame through the clip; the result is streamed to a zarr folder.

    Args:
        video, device, weights, options, progress, control: as for `track`.
        frame: whose pixels are tracked.
        path: a .zarr folder; by default VIDEO.dense.zarr beside the video file.
        step: pixels between two points.
        memory: budget of the network.

    Returns the path: arrays xy [N,T,2], visible, confidence, valid [N,T], row by row; `tapkit.load_dense`
    reads them as pictures. Raises as `track` does.
    """
    from tapkit.engine import dense

    if path is None:
        if not isinstance(video, str | Path) or not Path(video).is_file():
            raise UsageError("say where the dense result goes: path='clip.dense.zarr'")
        path = Path(video).with_suffix(".dense.zarr")
    with using(video) as source:
        tracker = load(model, weights, device, **options)
        with reporting(progress) as report:
            return dense.track_dense(tracker, source, path, frame, step, memory, direction, report, control)


def fit(
    video: Any,
    path: str | Path | None = None,
    *,
    model: str = "cadex++",
    preset: str | None = None,
    minutes: float | None = None,
    prepared: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    force: bool = False,
    say: Callable[[str], object] | None = None,
    progress: Callable[[FitProgress], object] | None = None,
    **options: Any,
) -> FittedTracker:
    """Fit a method to one video; the tracker that comes of it answers any query on that video.

        tracker = tapkit.fit("clip.mp4", model="omnimotion")            # writes clip.fit
        tracks = tracker.track("clip.mp4", [(12, 310.5, 122.0)])
        tracks = tapkit.track("clip.mp4", grid=20, model="clip.fit")     # later, without fitting again

    A fit that was interrupted goes on where it stopped when the same call is made again.

    Args:
        video: as for `track`; all frames are learned from.
        path: the folder of the fit; by default VIDEO.fit beside the video file.
        model: "omnimotion", "cadex++" or "dino-tracker".
        preset: "paper", "fast" or "cpu"; None: "fast" on a GPU, else "cpu".
        minutes: a budget for the whole fit, into which the schedule is fitted.
        prepared: a folder of flows and features that several fits of one video share; None: one in `path`.
        seed: of everything drawn at random.
        device: as for `load`, one.
        force: begin anew where another fit is.
        say: called with a sentence now and then, such as what it will cost.
        progress: called with a `tapkit.per_video.fit.Progress`.
        options: of the method, see its page.

    Raises `UsageError` also for a video that nothing can be learned from, `VideoError` for one with a scene cut.
    """
    if path is None:
        if not isinstance(video, str | Path) or not Path(video).exists():
            raise UsageError("say where the fit goes: path='clip.fit'")
        path = Path(video).with_suffix(".fit")
    place = choose_device(device)
    with using(video) as source:
        fit_video(
            source, Path(path), model=model, preset=preset or default_preset(place), device=place, minutes=minutes,
            prepared=None if prepared is None else Path(prepared), seed=seed, force=force, options=options,
            title=Path(video).name if isinstance(video, str | Path) else Path(path).stem,
            say=say or (lambda text: None), report=progress or (lambda progress: None),
        )  # fmt: skip
    return load_fit(path, place)


def default_preset(device: torch.device) -> str:
    """The preset of a fit where none is named."""
    return "cpu" if device.type == "cpu" else "fast"


def load_dense(path: str | Path) -> Dense:
    """Open what `tapkit dense` (a .zarr folder) or `tapkit flow` (a folder of files) wrote; fields are read when they
    are looked at.

        dense = tapkit.load_dense("clip.dense.zarr")
        dense.frame, dense.size, dense.fps
        dense.xy[10]                                    # [h,w,2]: where the cells of that frame are on frame 10

    Raises `StorageError` for what is not there, is something else or damaged.
    """
    from tapkit.export import dense_files

    return dense_files.load_dense(path)


def draw(
    video: Any,
    tracks: Tracks | Dense,
    path: str | Path,
    *,
    progress: Callable[[Progress], object] | bool | None = None,
    **style: Any,
) -> Path:
    """Write the video with the tracks drawn over it to `path` (.mp4, .webm, .gif, .png sequence).

    `style` are the fields of `tapkit.viz.Style`; for a dense result also those of `tapkit.viz.dense.DenseStyle`, such
    as kind="flow" or kind="grid". `progress` is called after every frame with a `Progress`; True shows a bar.
    """
    from tapkit.viz.draw import Style, draw_video

    with reporting(progress, "drawing") as report, using(video) as source:
        if isinstance(tracks, Dense):
            from tapkit.viz.dense import DenseStyle, draw_dense

            own = {name: style.pop(name) for name in ("kind", "scale", "spacing", "opacity") if name in style}
            look = DenseStyle(**own, dots=Style(**style))
            draw_dense(source, tracks, path, look, progress=drawn(report, 0))
        else:
            draw_video(source, tracks, path, style=Style(**style), progress=drawn(report, len(tracks)))
    return Path(path)


def load_flow(
    model: str = "dis",
    weights: str | Path | Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    report: stored.Report | None = None,
    **options: Any,
) -> FlowModel | ClipFlowModel:
    """A flow model, ready to use; arguments and errors as for `load`.

    `tapkit.flow.known.flow_cards()` has all that take two frames; the id of a tracker of whole clips whose card says
    `gives_flow` serves as well.
    """
    from tapkit.flow.known import build_flow

    if model in registry.cards() and registry.card(model).gives_flow:
        from tapkit.engine.clip_flow import ClipFlow

        return ClipFlow(load(model, weights, device, report, **options))

    return build_flow(model, weights, report, **options).to(choose_device(device))


def flow(
    video: Any,
    *,
    model: str | FlowModel | ClipFlowModel = "dis",
    pairs: str | Pairs = "next",
    wanted: Callable[[int, int], bool] | None = None,
    device: str | torch.device = "auto",
    weights: str | Path | Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Optical flow between frames of a video, streamed, or between two images.

        for pair in tapkit.flow("clip.mp4", model="raft-small", pairs="all:3"):
            print(pair.first, pair.second, pair.xy.shape)          # pair.xy: [H,W,2], pixels
        pair = tapkit.flow((first, second))                          # two images [H,W,3]: one `PairFlow`

    Args:
        video: as for `track`, or a tuple of two images.
        model: the id of a flow model or of a tracker that gives flow ("dot"), or what `load_flow` returned.
        pairs: "next" (each frame to the next), "previous", "first" (the first frame to each other), "step:K" (t to
            t + K), "all:K" (t to t + 1 ... t + K).
        wanted: asked with the two frames' indices; pairs for which it is false are left out and cost nothing.
        device, weights, options: as for `load`.

    Returns an iterator of `tapkit.flow.stream.PairFlow`, in the order of each pair's later frame; for two images, one.
    Raises `UsageError`, `WeightsError`, `VideoError`, `ShapeError`.
    """
    from tapkit.flow.stream import Pairs

    chosen = Pairs.of(pairs) if isinstance(pairs, str) else pairs
    if isinstance(video, tuple):
        if len(video) != 2:
            raise UsageError(f"flow is between two images, got {len(video)}")
        first, second = (np.asarray(image) for image in video)
        if first.shape != second.shape:
            raise UsageError(f"both images must have the same size, got {list(first.shape)} and {list(second.shape)}")
        video = np.stack([first, second])
        return next(_flows(video, _flow_model(model, weights, device, options), Pairs(), None))
    return _flows(video, _flow_model(model, weights, device, options), chosen, wanted)


def _flow_model(model: Any, weights: Any, device: Any, options: Mapping[str, Any]) -> FlowModel | ClipFlowModel:
    if isinstance(model, str):
        return load_flow(model, weights, device, **options)
    if weights is not None or options:
        raise UsageError("weights and options go with the id of a flow model, not with a model that is loaded")
    loaded: FlowModel | ClipFlowModel = model
    return loaded


def _flows(
    video: Any, model: FlowModel | ClipFlowModel, pairs: Pairs, wanted: Callable[[int, int], bool] | None
) -> Iterator[PairFlow]:
    from tapkit.flow.stream import flows

    with using(video) as source:
        yield from flows(model, source, pairs, wanted or (lambda first, second: True))
