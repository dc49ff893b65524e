"""Pages and tables: a run folder becomes one page that opens offline, several runs a table."""

from worldmodel.report.page import build
from worldmodel.report.verb import report

__all__ = ["build", "report"]
