"""The verb `report`."""

from worldmodel.report.page import build


def report(*, run_folder: str) -> int:
    """Write the page of a run again, for example while it is still going on.

    Args:
        run_folder: The run's folder.

    Returns:
        The exit status, 0.
    """
    print(build(run_folder))
    return 0
