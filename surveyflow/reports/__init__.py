"""The page that shows a published revision."""

import logging

# On its first import, matplotlib logs its font cache and folders at WARNING, which an operator does not need to see.
_matplotlib_logger = logging.getLogger("matplotlib")
if _matplotlib_logger.level == logging.NOTSET:
    _matplotlib_logger.setLevel(logging.ERROR)
