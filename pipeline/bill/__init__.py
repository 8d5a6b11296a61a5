"""What a bundle is made of: a bill of materials in CycloneDX, and a model card."""

from edgeticket.pipeline.bill.facts import DataFacts, Facts, gather_facts
from edgeticket.pipeline.bill.files import BILL, CARD, check_bill, write_bill

__all__ = [
    "BILL",
    "CARD",
    "DataFacts",
    "Facts",
    "check_bill",
    "gather_facts",
    "write_bill",
]
