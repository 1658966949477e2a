"""The training of a network on records, and the search for its settings."""

from surveyflow.models.quiet_tensorflow import import_tensorflow

import_tensorflow()
