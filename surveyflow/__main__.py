"""The command ``surveyflow``; as ``python -m surveyflow`` it is of this environment, whatever the path finds first."""

import sys

from surveyflow.runs.installation import namesake_problem


def main() -> None:
    """Run the command line, unless another project's package is mixed into this one: then no module can be relied on."""
    problem = namesake_problem()
    if problem:
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
    from surveyflow.commands.main import main as run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
