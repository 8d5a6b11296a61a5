"""Results of experiments: strict JSON, one line for each run that ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.regular import read_regular, read_regular_text
from edgeticket.device_runner.strict_json import parse_json
from edgeticket.pipeline.recipe import Config, check

Count = Annotated[int, Field(ge=0)]


class Circumstances(Config):
    """What may differ between two runs of the same point."""

    seconds: Annotated[float, Field(ge=0)]  # of this run; what it found done is not in it
    versions: Mapping[str, str]
    cpu: str
    architecture: str
    device: str  # what trained: the GPU's name, or the processor's kind
    threads: Count


class Line(Config):
    """One run of one point of an experiment's grid."""

    experiment: str
    variant: str
    sparsity: Annotated[float, Field(gt=0, lt=1)] | None  # wanted
    seed: Count
    digest: str  # of all that decides the result, but for the seed
    dataset: str
    arch: str
    # Zeroed share of the weights that could be pruned; where parts of the network were removed,
    # the removed share of all parameters.
    sparsity_reached: Annotated[float, Field(ge=0, le=1)]
    parameters: Count  # of the dense network
    parameters_kept: Count
    epochs: Count  # passes over the training split, the dense network's included
    measure: str = "top1"  # of the scores: the headline metric of the task (docs/tasks.md)
    unit: str = "share"
    lower_is_better: bool = False
    # Older lines told top-1 alone, by its name.
    validation_score: Annotated[
        float, Field(validation_alias=AliasChoices("validation_score", "validation_top1"))
    ]
    test_score: Annotated[float, Field(validation_alias=AliasChoices("test_score", "test_top1"))]
    test_examples: Count
    steps: tuple[Mapping[str, Any], ...]  # what each step of the run said of itself
    run: Circumstances

    @field_validator("validation_score", "test_score")
    @classmethod
    def _is_share(cls, score: float, fields: ValidationInfo) -> float:
        if fields.data.get("unit") == "share" and not 0 <= score <= 1:
            raise ValueError("a share is from 0 to 1")
        return score


def read_lines(path: Path) -> tuple[Line, ...]:
    """All lines of a results file.

    Raises:
        InputError: it cannot be read, or a line is not a result; file and line are named.
    """
    rows = read_regular(path, kind="results").splitlines()
    lines = []
    for number, row in enumerate(rows, start=1):
        place = f"{path}, line {number}"
        document = parse_json(row, place=place)
        if not isinstance(document, dict):
            raise InputError(f"{place} is not a result: a mapping of keys is wanted")
        lines.append(check(Line, document, place=place))
    return tuple(lines)


def append_line(path: Path, line: Line) -> None:
    """Add a line: a reader, or a machine that loses power, sees it whole or not at all.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; the file is unchanged.
    """
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        raise InputError(f"{path} does not end with a whole line: mend or remove its last line")
    row = json.dumps(line.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    # Appending could leave half a line after a crash; the file is small, so it is replaced.
    write_atomic(path, before + row.encode() + b"\n")


def read_tables(folder: Path) -> list[str]:
    """The tables of single runs in a folder, copies of their ``summary.md``, by name.

    Raises:
        InputError: a file cannot be read, or is something else.
    """
    tables = []
    for file in sorted(folder.glob("*.md")):
        tables.append(read_regular_text(file).strip())
        if not tables[-1].startswith("# "):
            raise InputError(f"{file} is no table of a run: copy a run's summary.md there")
    return tables
