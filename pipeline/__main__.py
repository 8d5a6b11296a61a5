"""`python -m edgeticket.pipeline` is `edgeticket`."""

from edgeticket.pipeline.cli import main

main()
