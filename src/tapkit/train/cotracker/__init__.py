"""How CoTracker2 and CoTracker3 are trained."""
