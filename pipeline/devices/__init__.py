"""Where artifacts are measured: each way of reaching a device is one module."""
