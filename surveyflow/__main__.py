"""``python -m surveyflow``: the command line of this interpreter's environment, whatever the path finds first."""

from surveyflow.commands.main import main

main()
