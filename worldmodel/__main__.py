"""`worldmodel` and `python -m worldmodel`: process settings first, then the command line."""

import io
import sys

from worldmodel.runs import cpu


def main() -> None:
    """Run the command line and exit with its status."""
    cpu.tune()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        # Imported after tuning: a verb that runs brings torch in, which reads the settings.
        from worldmodel.cli import app
    except KeyboardInterrupt:
        print("worldmodel: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(app.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
