"""Measurements. `decode` times the engine without HTTP; everything else speaks HTTP only."""
