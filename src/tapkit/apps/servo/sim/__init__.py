"""A simulated arm with a camera on its wrist, in MuJoCo (extra `robot`)."""
