"""Evaluation of trained models."""

from surveyflow.models.quiet_tensorflow import import_tensorflow

import_tensorflow()
