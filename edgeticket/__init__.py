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
        bundle,
        check_device,
        clean_device,
        compare,
        convert,
        diff,
        experiment,
        fetch,
        history,
        init,
        inspect,
        layers,
        pack,
        predict,
        quantize,
        read_graph,
        read_recipe,
        read_report,
        report,
        results,
        run,
        search,
        sensitivity,
        set_up_device,
        sign,
        unpack,
        verify,
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
    "bundle",
    "check_device",
    "clean_device",
    "compare",
    "convert",
    "diff",
    "experiment",
    "fetch",
    "history",
    "init",
    "inspect",
    "layers",
    "pack",
    "predict",
    "quantize",
    "read_graph",
    "read_recipe",
    "read_report",
    "report",
    "results",
    "run",
    "search",
    "sensitivity",
    "set_up_device",
    "sign",
    "unpack",
    "verify",
    "why",
]

_API = "edgeticket.api"
_HOMES = {
    "Quantized": _API,
    "bench": _API,
    "bundle": _API,
    "check_device": _API,
    "clean_device": _API,
    "compare": _API,
    "convert": _API,
    "diff": _API,
    "history": _API,
    "experiment": _API,
    "fetch": _API,
    "init": _API,
    "inspect": _API,
    "pack": _API,
    "layers": _API,
    "predict": _API,
    "quantize": _API,
    "read_graph": _API,
    "read_recipe": _API,
    "report": _API,
    "results": _API,
    "run": _API,
    "search": _API,
    "sensitivity": _API,
    "set_up_device": _API,
    "unpack": _API,
    "why": _API,
    "sign": _API,
    "verify": _API,
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
