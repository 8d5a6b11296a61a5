"""Where two versions of a network part or lose time, and the cause out of a closed list.

    why(read_subject("float.onnx"), read_subject("int8.tflite"), samples=...)    # -> Answer

The first of the two is taken to be right; what is looked for is what the second does to it.
"""

from edgeticket.pipeline.why.finding import Cause, Finding
from edgeticket.pipeline.why.question import Answer, why
from edgeticket.pipeline.why.subject import Subject, read_subject

__all__ = ["Answer", "Cause", "Finding", "Subject", "read_subject", "why"]
