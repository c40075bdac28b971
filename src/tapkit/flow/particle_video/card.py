"""Card of Particle Video."""

from tapkit.types import ModelCard

CARDS = (
    ModelCard(
        id="particle-video",
        name="Particle Video",
        paper="P. Sand and S. Teller, Particle Video: Long-Range Motion Estimation using Point Trajectories, "
        "CVPR 2006; IJCV 80(1), 2008",
        paper_url="https://doi.org/10.1007/s11263-008-0136-6",
        code_licence="Apache-2.0 (ours; written from the papers)",
        weights_licence="none needed",
        commercial=True,
        factory="tapkit.flow.particle_video.tracker:build",
        options="tapkit.flow.particle_video.options:ParticleOptions",
        streaming="offline",
        latency=-1,
        joint=False,
        bidirectional=True,
        confidence_radius=8.0,
        notes="Classical, no training. Needs the extra `particles`. Does not find points again after an occlusion. "
        "Queries are carried by the nearest particles, which do not depend on the queries. What the papers leave open "
        "is listed on the page of the model.",
    ),
)
