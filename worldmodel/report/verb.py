"""The verb `report`."""

from worldmodel.report.page import build


def report(*, run_folder: str, image: str | None = None) -> int:
    """Write the page of a run, also while it is still going on.

    Args:
        run_folder: The run's folder.
        image: A PNG to draw as well, of a planned episode beside its surprise.

    Returns:
        The exit status, 0.
    """
    print(build(run_folder))
    if image is not None:
        # Imported late: matplotlib is slow to import, and pages do without it.
        from worldmodel.report.story import draw_story

        print(draw_story(run_folder, image))
    return 0
