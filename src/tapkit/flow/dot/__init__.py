"""DOT: dense optical tracking. Sparse tracks of another tracker, spread over the frame and refined to dense motion."""
