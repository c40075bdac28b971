"""FlowTrack: confident flow is chained; where it is not, the point is found by its appearance."""
