"""A run on paper: JSON lines for programs, one HTML file for people."""

from headrace.bench.report.lines import read_lines, write_lines
from headrace.bench.report.page import page

__all__ = ["page", "read_lines", "write_lines"]
