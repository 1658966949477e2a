"""Options that several verbs of the command line take."""

from __future__ import annotations

from typing import Annotated

import typer

from surveyflow.values.codes import EngineName, Precision

EngineOption = Annotated[EngineName, typer.Option(help=f"What computes the networks. {EngineName.explained()}.")]
PrecisionOption = Annotated[Precision, typer.Option(help=f"Precision of the networks' trunks. {Precision.explained()}.")]
