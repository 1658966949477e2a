"""The command ``surveyflow``; as ``python -m surveyflow`` it is of this environment, whatever the path finds first."""

import gc
import os
import sys


def main() -> None:
    """Run the command line, unless another project's package is mixed into this one: then no module can be relied on."""
    gc.set_threshold(10_000)  # by default, looking for garbage takes a tenth of the time of the imports
    from surveyflow.runs.installation import namesake_problem

    problem = namesake_problem()
    if problem:
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
    from surveyflow.commands.main import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120 - pathlib imports others
        del sys.path[0]  # the working folder: a user's select.py there would take the place of Python's own
    main()
