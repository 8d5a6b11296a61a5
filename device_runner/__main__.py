"""``python -m edgeticket.device_runner`` is ``device-runner``."""

from __future__ import annotations

import sys

from edgeticket.device_runner.cli import main

sys.exit(main())
