"""The device runner of this very installation, as a wheel: the base install without the host side.

Built here in milliseconds, from the files that are imported: no build tool, no index, the same
from a checkout and from an installed package. Equal sources give equal bytes (PEP 427).
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from edgeticket import device_runner
from edgeticket.pipeline.bundle import ZIP_DATE

REQUIRES = "numpy>=1.23"


def build_runner_wheel() -> tuple[str, bytes]:
    """File name and bytes of the wheel; the version names the sources by their hash."""
    package = "edgeticket/__init__.py"
    sources = {package: (files("edgeticket") / "__init__.py").read_bytes()} | dict(
        sorted(_walk(files("edgeticket.device_runner"), "edgeticket/device_runner"))
    )
    digest = hashlib.sha256(b"".join(name.encode() + data for name, data in sources.items()))
    version = f"{device_runner.__version__}+runner.{digest.hexdigest()[:12]}"
    about = f"edgeticket-{version}.dist-info"
    metadata = {
        "METADATA": f"Metadata-Version: 2.1\nName: edgeticket\nVersion: {version}\n"
        f"Requires-Python: >=3.9\nRequires-Dist: {REQUIRES}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: edgeticket\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\n"
        "device-runner = edgeticket.device_runner.cli:main\n",
    }
    contents = {**sources, **{f"{about}/{name}": text.encode() for name, text in metadata.items()}}
    record = [f"{name},{_record_hash(data)},{len(data)}" for name, data in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return f"edgeticket-{version}-py3-none-any.whl", buffer.getvalue()


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        if item.is_dir() and item.name != "__pycache__":
            yield from _walk(item, f"{prefix}/{item.name}")
        elif item.is_file() and not item.name.endswith(".pyc"):
            yield f"{prefix}/{item.name}", item.read_bytes()


def _record_hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
