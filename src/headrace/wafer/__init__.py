"""The simulated wafer: machine, placement, numerics, time. It knows shapes, not models."""
