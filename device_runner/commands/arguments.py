"""What arguments may look like: text of the command line -> value, or a refusal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.signing import TRUST, read_trust

STYLE = argparse.RawDescriptionHelpFormatter

Commands = Any
"""What argparse calls a _SubParsersAction."""
Group = Any
"""What argparse calls an _ArgumentGroup."""


def add_turns(parser: Any, *, of: str) -> None:
    """The options of what is timed in short turns: ``pace``, threads, cores, AMX, strictness.

    Args:
        of: what takes a turn.
    """
    parser.add_argument(
        "--rounds", type=count, default=7, metavar="N",
        help=f"turns of each {of}, fewer where the first agree (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--turn-ms", type=milliseconds, default=4.0, metavar="MS",
        help="how long a turn is timed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=count, default=1, metavar="N", help="within one inference (default: 1)"
    )
    parser.add_argument("--cores", type=cores, metavar="LIST", help="keep to CPU cores, like 2-3")
    parser.add_argument(
        "--no-amx", dest="amx", action="store_false", help="keep Intel's AMX from the runtimes"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if it is INVALID")


def turns_of(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_turns` was given, as `probe` and `time_layers` take it."""
    from edgeticket.device_runner.probes.turns import Pace

    return {
        "pace": Pace(rounds=options.rounds, turn_ns=int(options.turn_ms * 1e6)),
        "threads": options.threads,
        "cores": options.cores,
        "amx": options.amx,
    }


def add_trust(parser: Any) -> None:
    """--require-signed and --trust, of commands that read bundles."""
    parser.add_argument(
        "--require-signed", action="store_true",
        help="refuse a bundle that no trusted key has signed (docs/security.md)",
    )  # fmt: skip
    parser.add_argument(
        "--trust", type=Path, metavar="PATH",
        help=f"public keys for that: a PEM file, or a folder of them (default: {TRUST})",
    )  # fmt: skip


def trust_of(options: argparse.Namespace) -> Path | None:
    """Where trusted keys lie; None: bundles need not be signed.

    Raises:
        InputError: keys without the wish that they are asked.
    """
    if options.trust is not None and not options.require_signed:
        raise InputError("--trust says whose signature counts: add --require-signed")
    return (options.trust or TRUST) if options.require_signed else None


def ask_signature(options: argparse.Namespace) -> None:
    """Refuse a bundle that is not signed as the options want it, before anything of it is used.

    Raises:
        InputError: as `Bundle.verify_signature`.
    """
    trust = trust_of(options)
    if trust is not None:
        from edgeticket.device_runner.bundle import open_bundle

        with open_bundle(options.bundle) as bundle:
            bundle.verify_signature(read_trust(trust))


def count(text: str) -> int:
    """A number from 1."""
    return int(text) if text.isdecimal() and int(text) > 0 else _refuse(text, "a number from 1")


def counts(text: str) -> tuple[int, ...]:
    """``"1,2,4"`` -> (1, 2, 4)."""
    found = tuple(count(part) for part in text.split(","))
    return found if len(set(found)) == len(found) else _refuse(text, "different numbers")


def seconds(text: str) -> float:
    """Seconds up to a day."""
    return _number(text, 0, 86400, "seconds from 0 to 86400")


def minutes(text: str) -> int:
    """``"30m"`` or ``"2h"`` -> whole minutes."""
    from edgeticket.device_runner.sustained import read_minutes

    try:
        return read_minutes(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None


def milliseconds(text: str) -> float:
    """Milliseconds up to ten seconds."""
    return _number(text, 0.1, 10000, "milliseconds from 0.1 to 10000")


def hertz(text: str) -> float:
    """Frames per second."""
    return _number(text, 0.01, 10000, "a rate from 0.01 to 10000 frames a second")


def celsius(text: str) -> float:
    """A temperature that a board can have."""
    return _number(text, -40, 120, "degrees Celsius from -40 to 120")


def cores(text: str) -> tuple[int, ...]:
    """``"2-3"`` -> (2, 3)."""
    from edgeticket.device_runner.cores import parse_cores

    try:
        return parse_cores(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def samples(text: str) -> int | Path:
    """A number from 1, or a folder."""
    return count(text) if text.isdecimal() else Path(text)


def _number(text: str, low: float, high: float, wanted: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    return number if low <= number <= high else _refuse(text, wanted)


def _refuse(text: str, wanted: str) -> NoReturn:
    raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
