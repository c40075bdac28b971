"""DINO-Tracker: a head and a residual of features, fitted to one video."""
