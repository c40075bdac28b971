"""How LocoTrack is trained."""
