"""What a running server says about itself: `metrics` are scraped, `logs` are read.

Ground layer: every folder may record, so nothing here imports one.
"""
