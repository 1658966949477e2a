"""Measure the domain of a model that is already in a store, and write it into the model's folder.

``python scripts/add_domain.py TRAINING.toml FOLDER`` reads the stamps that the training file names, as ``surveyflow train`` does
at its end, and replaces card and feature domain in FOLDER; the weights stay. With ``--held-out``, it reads the validation stamps
alone, without the network, and replaces ``window_snr`` and ``edge_light_fraction``: limits that an evaluation narrowed stay.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from surveyflow.models.store import read_card, read_domain, read_weights, write_model
from surveyflow.settings.training import load_training
from surveyflow.tasks.card import ModelCard
from surveyflow.training.fitting.domain import measured_domain, with_limits_of_held_out


def add_domain(training_file: Path, folder: Path, *, held_out: bool) -> ModelCard:
    """Write the domain of the model in a folder, measured on the records of a training file; returns the new card."""
    card, training = read_card(folder), load_training(training_file)
    weights = read_weights(folder, card)
    if held_out:
        domain, features = with_limits_of_held_out(card.domain, training, card.pixel_scale_arcsec), read_domain(folder, card)
    else:
        domain, features = measured_domain(training, card, weights)
    return write_model(folder, replace(card, domain=domain), weights, overwrite=True, domain=features)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the domain of a model, and write it into the model's folder.")
    parser.add_argument("training", type=Path, help="the training file, which names the records")
    parser.add_argument("folder", type=Path, help="the model's folder")
    parser.add_argument("--held-out", action="store_true", help="only the limits that follow from validation stamps")
    asked = parser.parse_args()
    sys.stdout.write(f"{add_domain(asked.training, asked.folder, held_out=asked.held_out).domain}\n")
