"""`python -m pipeline` is `edgeticket`."""

from pipeline.cli import main

main()
