"""The installation of surveyflow: whether another project's package of the same name is mixed into it.

Installers do not compare the files of distributions. Of two that contain a package ``surveyflow``, the later one overwrites the
files that both have, and removing either takes these files away from the other.
"""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from surveyflow.values import remedies


def namesake_problem() -> str | None:
    """What is wrong if the other project's package is installed here, with the remedy; None if it is not."""
    namesake = _installed(remedies.NAMESAKE)
    if namesake is None or not any(file.parts[0] == "surveyflow" for file in namesake.files or ()):
        return None
    return (
        f"another project's package of the same name, {remedies.NAMESAKE} {namesake.version}, is installed in "
        f"{namesake.locate_file('surveyflow')}. It shares files with {remedies.DISTRIBUTION}, so neither can be trusted. "
        f"Remove it, and install this package again: `{remedies.replace_namesake(_origin())}`."
    )


def _origin() -> str:
    """What to install to have this distribution again: where it came from, or its name."""
    own = _installed(remedies.DISTRIBUTION)
    record = own and own.read_text("direct_url.json")
    return str(json.loads(record)["url"]) if record else remedies.DISTRIBUTION


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
