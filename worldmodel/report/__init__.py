"""A run folder becomes one page that opens offline."""

from worldmodel.report.page import build
from worldmodel.report.verb import report

__all__ = ["build", "report"]
