"""Cards of CoTracker2 and CoTracker3."""

from tapkit.types import ModelCard, PublishedNumber

_PAPER2 = "N. Karaev et al., CoTracker: It is Better to Track Together, ECCV 2024"
_PAPER3 = "N. Karaev et al., CoTracker3: Simpler and Better Point Tracking by Pseudo-Labelling Real Videos, ICCV 2025"
_LICENCE = "CC-BY-NC-4.0"
_TOGETHER = (
    "Points influence each other: adding, removing or splitting them changes results slightly. The authors' support "
    "points (support=) go along and are stripped. "
)


_SINGLE = "query first, one query at a time with 8x8 local and 5x5 global support, 256x256 resized to 384x512"

COTRACKER2 = ModelCard(
    id="cotracker2",
    name="CoTracker2",
    paper=_PAPER2,
    paper_url="https://arxiv.org/abs/2307.07635",
    code_licence=_LICENCE,
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.cotracker.tracker2:build",
    options="tapkit.models.cotracker.tracker2:CoTracker2Options",
    weights_url="https://huggingface.co/facebook/cotracker/resolve/main/cotracker2.pth",
    weights_file="cotracker2.pth",
    streaming="window",
    latency=7,
    joint=True,
    input_size=(384, 512),
    visible_rule="visible",
    visible_threshold=0.9,
    longest_trained=24,
    half_precision_px=(0.028, 0.078),
    published=PublishedNumber.triples(
        _SINGLE,
        "README at commit 9ed0531",
        {"TAP-Vid DAVIS": (60.9, 75.4, 88.4)},
    )
    + PublishedNumber.triples(
        "query strided, one query at a time with 8x8 local and 5x5 global support, 256x256 resized to 384x512",
        "README at commit 9ed0531",
        {"TAP-Vid DAVIS": (65.1, 79.0, 89.4)},
    ),
    notes=_TOGETHER
    + "There is no confidence output: `confidence` repeats `visible`. Loads cotracker2v1.pth (CoTracker2.1, windows of "
    "16 frames) too. The paper marks the overlap of windows in the track mask, the released code does not; "
    "with exactly 64 points the released code masks the wrong side of an attention, and so does tapkit.",
)

COTRACKER3_OFFLINE = ModelCard(
    id="cotracker3-offline",
    name="CoTracker3 offline",
    paper=_PAPER3,
    paper_url="https://arxiv.org/abs/2410.11831",
    code_licence=_LICENCE,
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.cotracker.tracker3:build_offline",
    options="tapkit.models.cotracker.tracker3:OfflineOptions",
    weights_url="https://huggingface.co/facebook/cotracker3/resolve/main/scaled_offline.pth",
    weights_file="scaled_offline.pth",
    streaming="offline",
    latency=-1,
    joint=True,
    bidirectional=True,
    input_size=(384, 512),
    visible_rule="visible*confidence",
    visible_threshold=0.6,
    confidence_radius=12.0,
    longest_trained=79,
    half_precision_px=(0.052, 0.089),
    published=PublishedNumber.triples(
        _SINGLE,
        "CoTracker3 paper, table 1",
        {
            "TAP-Vid Kinetics": (54.7, 67.8, 87.4),
            "TAP-Vid RGB-Stacking": (74.3, 85.2, 92.4),
            "TAP-Vid DAVIS": (64.4, 76.9, 91.2),
            "RoboTAP": (64.7, 78.0, 89.4),
        },
    ),
    notes=_TOGETHER
    + "Memory grows with the clip; for long videos use cotracker3-online. The authors' predictor thresholds `visible` "
    "alone at 0.9, their evaluation visible*confidence at 0.6, which is the rule here. Local support points "
    'start on frame 0 in the released code (support_frame="first"), on the query\'s frame in the paper ("query").',
)

COTRACKER3_ONLINE = ModelCard(
    id="cotracker3-online",
    name="CoTracker3 online",
    paper=_PAPER3,
    paper_url="https://arxiv.org/abs/2410.11831",
    code_licence=_LICENCE,
    weights_licence=_LICENCE,
    commercial=False,
    factory="tapkit.models.cotracker.tracker3:build_online",
    options="tapkit.models.cotracker.tracker3:OnlineOptions",
    weights_url="https://huggingface.co/facebook/cotracker3/resolve/main/scaled_online.pth",
    weights_file="scaled_online.pth",
    streaming="window",
    latency=15,
    joint=True,
    input_size=(384, 512),
    visible_rule="visible*confidence",
    visible_threshold=0.6,
    confidence_radius=12.0,
    longest_trained=64,
    half_precision_px=(0.073, 0.138),
    published=PublishedNumber.triples(
        _SINGLE,
        "CoTracker3 paper, table 1",
        {
            "TAP-Vid Kinetics": (55.8, 68.5, 88.3),
            "TAP-Vid RGB-Stacking": (71.7, 83.6, 91.1),
            "TAP-Vid DAVIS": (63.8, 76.3, 90.2),
            "RoboTAP": (66.4, 78.8, 90.8),
        },
    ),
    notes=_TOGETHER
    + "Windows of 16 frames, 8 of them new: a frame is answered provisionally after at most 7 more frames and finally "
    "after at most 15. The authors' online predictor has no support points unless told to; here the default is that of "
    'the offline model, and support="none" does as they do. Points known to begin later take part without '
    "features, as in the authors' code. "
    "Clips of 8 frames or fewer, for which the authors' code returns zeros, are tracked in one padded window.",
)

CARDS = (COTRACKER2, COTRACKER3_OFFLINE, COTRACKER3_ONLINE)
