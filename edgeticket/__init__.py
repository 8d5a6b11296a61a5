"""Find the smallest network that still does the job, prove it on the device, hand it over.

    import edgeticket

    summary = edgeticket.run("demo")
    edgeticket.compare("known-good", "reports", identical=True)

Importing this costs nothing: what is used is loaded then (PEP 562). The base install, a device's,
has numpy and no more; there `read_report` and `InputError` work, and the rest says what it lacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeticket.device_runner import __version__

if TYPE_CHECKING:
    from edgeticket.api import (
        Quantized,
        bench,
        compare,
        compare_with_history,
        convert,
        diff,
        history,
        inspect,
        predict,
        quantize,
        read_recipe,
        read_report,
        report,
        run,
        sensitivity,
        why,
    )
    from edgeticket.device_runner.errors import InputError
    from edgeticket.pipeline.errors import ConversionError, DeviceError, RecipeError

__all__ = [
    "ConversionError",
    "DeviceError",
    "InputError",
    "Quantized",
    "RecipeError",
    "__version__",
    "bench",
    "compare",
    "compare_with_history",
    "convert",
    "diff",
    "history",
    "inspect",
    "predict",
    "quantize",
    "read_recipe",
    "read_report",
    "report",
    "run",
    "sensitivity",
    "why",
]

_API = "edgeticket.api"
_HOMES = {
    "bench": _API,
    "compare": _API,
    "compare_with_history": _API,
    "convert": _API,
    "diff": _API,
    "history": _API,
    "inspect": _API,
    "predict": _API,
    "quantize": _API,
    "Quantized": _API,
    "read_recipe": _API,
    "report": _API,
    "run": _API,
    "sensitivity": _API,
    "why": _API,
    "ConversionError": "edgeticket.pipeline.errors",
    "DeviceError": "edgeticket.pipeline.errors",
    "RecipeError": "edgeticket.pipeline.errors",
    "InputError": "edgeticket.device_runner.errors",
    "read_report": "edgeticket.device_runner.report",
}

_HOST_SIDE = ("torch", "onnx", "pydantic", "rich", "yaml")  # of the extra `host`

if not TYPE_CHECKING:  # a type checker would believe in every name

    def __getattr__(name: str) -> object:
        """Load ``name`` from the module that has it, once."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib.util

        home = _HOMES[name]
        if home == _API:
            for package in (*_HOST_SIDE, _API):
                if importlib.util.find_spec(package) is None:
                    raise ImportError(
                        f"edgeticket.{name} is of the host side, and {package} is not installed: "
                        "pip install 'edgeticket[host]' with Python 3.11 or newer",
                        name=package,
                    )
        elif importlib.util.find_spec(home.rpartition(".")[0]) is None:  # a device's runner alone
            raise AttributeError(
                f"edgeticket.{name} is of the host side, which is not installed: "
                "pip install 'edgeticket[host]' with Python 3.11 or newer"
            )
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
