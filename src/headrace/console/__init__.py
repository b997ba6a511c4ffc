"""The web console: plain files, and the pages that serve them."""

from headrace.console.pages import pages

__all__ = ["pages"]
