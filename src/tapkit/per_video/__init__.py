"""Trackers that are fitted to one video: prepare (flows, masks, features), fit (a loop that may be interrupted at any
moment), answer (queries on any frame, both ways, without fitting again).

    method.py            what a method is to the loop
    prepare/             what methods learn from: computed once, kept on disk, shared by all of them
    fit.py, folder.py    the loop, and the folder in which a fit lives
    omnimotion/ ...      the methods, a folder each
"""
