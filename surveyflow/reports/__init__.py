"""The page that shows a published revision."""

import logging

# matplotlib tells about its font cache and its folders at WARNING, on its first import: nothing that an operator needs.
_matplotlib_logger = logging.getLogger("matplotlib")
if _matplotlib_logger.level == logging.NOTSET:
    _matplotlib_logger.setLevel(logging.ERROR)
