"""The two files beside a bundle, and how an older one is known that may be replaced."""

from __future__ import annotations

from pathlib import Path

from edgeticket.device_runner.atomic import write_atomic
from edgeticket.pipeline.bill.card import is_card, to_card
from edgeticket.pipeline.bill.cyclonedx import is_bill, to_cyclonedx
from edgeticket.pipeline.bill.facts import Facts
from edgeticket.pipeline.output_folder import check_output

BILL, CARD = "bom.cdx.json", "model-card.md"


def check_bill(bill: Path, card: Path) -> None:
    """Refuse places where something lies that edgeticket did not write, or that was edited since.

    Raises:
        InputError: so it is.
    """
    check_output(bill, ours=is_bill)
    check_output(card, ours=is_card)


def write_bill(facts: Facts, bill: Path, card: Path) -> None:
    """Write both, each whole or not at all; what is there goes: see `check_bill`."""
    write_atomic(bill, to_cyclonedx(facts))
    write_atomic(card, to_card(facts, bill=bill.name))
