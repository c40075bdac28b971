"""GMRW: two frames are matched by a global softmax; flows between neighbouring frames are chained into tracks."""
