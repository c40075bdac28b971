"""Pseudo-labels: clips of real videos whose tracks come from a committee of trackers, the teachers.

Synthetic clips lack what real ones have: skin, cloth, water, real light. A teacher follows detected corners through a
piece of a video; what holds up (it finds its way back, other teachers agree) is taken as ground truth, everything else
is not counted. A student then learns from these clips, its visibility and confidence frozen (CoTracker3: Karaev et al.,
2024, sections 3.1 and 4.2; the round trip: Kalal et al., Forward-Backward Error, ICPR 2010).

    from tapkit.train.pseudo.label import label_videos
    from tapkit.train.pseudo.options import LabelOptions

    options = LabelOptions(teachers=("cotracker3-online", "cotracker3-offline", "tapir"))
    reports = label_videos(["a.mp4", "b.mp4"], "labelled/", options)

`label_video` is what that does to each of them: a pure function of the video, the options and their seed. The clips are
in tapkit's folder format; `tapkit train MODEL --data labelled/` sees that they are pseudo-labels.
"""
