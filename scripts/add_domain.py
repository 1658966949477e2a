"""Measure the domain of a model that is already in a store, and write it into the model's folder.

``python scripts/add_domain.py TRAINING.toml FOLDER`` reads the stamps that the training file names, as ``surveyflow train`` does
at its end, and replaces card and feature domain in FOLDER; the weights stay.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from surveyflow.models.store import read_card, read_weights, write_model
from surveyflow.settings.training import load_training
from surveyflow.tasks.card import ModelCard
from surveyflow.training.fitting.domain import measured_domain


def add_domain(training_file: Path, folder: Path) -> ModelCard:
    """Write the domain of the model in a folder, measured on the records of a training file; returns the new card."""
    card = read_card(folder)
    weights = read_weights(folder, card)
    domain, features = measured_domain(load_training(training_file), card, weights)
    return write_model(folder, replace(card, domain=domain), weights, overwrite=True, domain=features)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the domain of a model, and write it into the model's folder.")
    parser.add_argument("training", type=Path, help="the training file, which names the records")
    parser.add_argument("folder", type=Path, help="the model's folder")
    asked = parser.parse_args()
    sys.stdout.write(f"{add_domain(asked.training, asked.folder).domain}\n")
