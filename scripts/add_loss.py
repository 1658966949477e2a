"""Write into the cards of a merger model what it loses on another simulation.

``python scripts/add_loss.py EVALUATION.json FOLDER`` takes the sentence from the verdict of the model's evaluation, and adds it
to the notes of every card in FOLDER, a model's or a jury's; weights and domains stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from surveyflow.models.store import placed, read_card, read_domain, read_weights, write_model

BEGINNING = "On another simulation"


def add_loss(evaluation: Path, folder: Path) -> str:
    """Add the sentence to the notes of the cards in a folder; returns the sentence."""
    verdict = json.loads(evaluation.read_text())["merger"]["verdict"]
    sentence = next((one for one in verdict if one.startswith(BEGINNING)), None)
    if sentence is None:
        raise SystemExit(f"{evaluation} states no loss. Name records of another simulation in [evaluation] other.")
    for home, card in placed(folder, read_card(folder)):
        kept = card.notes.split(f" {BEGINNING}", maxsplit=1)[0]
        weights, domain = read_weights(home, card), read_domain(home, card)
        write_model(home, replace(card, notes=f"{kept} {sentence}"), weights, overwrite=True, domain=domain)
    return sentence


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write into the cards of a merger model what it loses on another simulation.")
    parser.add_argument("evaluation", type=Path, help="evaluation.json of the model")
    parser.add_argument("folder", type=Path, help="the model's folder, or the jury's")
    asked = parser.parse_args()
    sys.stdout.write(f"{add_loss(asked.evaluation, asked.folder)}\n")
