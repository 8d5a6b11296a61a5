"""The command `diff`: tap a bundle's artifacts, and compare them with their references."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeticket.device_runner.bundle import Bundle, open_bundle
from edgeticket.device_runner.errors import InputError
from edgeticket.device_runner.manifest import Artifact
from edgeticket.device_runner.runtimes import get_runtime
from edgeticket.device_runner.selection import select
from edgeticket.device_runner.taps.file import open_taps
from edgeticket.device_runner.taps.tap import tap
from edgeticket.models.imported import look_in
from edgeticket.pipeline.convert.targets import is_optional
from edgeticket.pipeline.devices.connection import Patience
from edgeticket.pipeline.devices.fleet import make_device
from edgeticket.pipeline.devices.taps import tap_device
from edgeticket.pipeline.diff import Bounds, Diff, compare_taps
from edgeticket.pipeline.diff.reference import OnnxReference, Reference
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.reference.networks import find_references, load_reference
from edgeticket.pipeline.text import open_console


def diff_bundle(
    path: Path,
    *,
    artifacts: Sequence[str],
    taps: Sequence[Path],
    on: str | None = None,
    samples: int,
    references: Path | None,
    alone: bool,
    code: Path | None = None,
    bounds: Bounds,
    progress: Progress,
) -> Diff:
    """Compare artifacts layer by layer.

    Args:
        path: a bundle, folder or .zip, or the folder of a run that holds ``bundle``.
        artifacts: ids; none: every int8 artifact that has a runtime here, whatever machine it is
            meant for, or if there is none every artifact.
        taps: files of `device-runner tap` to judge instead; their running differences are against
            this machine, where it has the runtime.
        on: a device that shall make such files now.
        samples: how many, from the first.
        references: the folder that a run left beside its bundle; None: looked for there.
        alone: use nothing but the bundle: its own ONNX file, run as written, is the reference.
        code: where functions lie that build networks of the user's own; they are run. None: none.
        bounds: what each layer must keep to.
        progress: shows how far it is.

    Raises:
        InputError: the bundle, an artifact, a taps file or a reference cannot be used.
    """
    path = path / "bundle" if (path / "bundle" / "manifest.json").is_file() else path
    folder = None if alone else references or find_references(path)
    if code is not None:
        look_in([code])
    trusted = "" if code is None else "*"
    with open_bundle(path) as bundle, contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeticket-diff-")))
        if on is not None:
            taps = _tap_there(bundle, path, artifacts, on, samples, scratch)
        judged = [stack.enter_context(open_taps(file)) for file in taps]
        names = [t.facts.artifact.id for t in judged] or _chosen(bundle, artifacts)
        entries = {entry.id: entry for entry in bundle.manifest.artifacts}
        unknown = [name for name in names if name not in entries]
        if unknown:
            known = ", ".join(entries)
            raise InputError(f"no artifact {unknown[0]!r} in {path} (there are: {known})")
        chosen = [entries[name] for name in names]
        judges = _judges(bundle, path, chosen, folder, trusted=trusted)
        here = {}
        for name in dict.fromkeys(names):
            if taps and not _has_runtime(entries[name]):
                progress.say(f"{name} cannot run here; the device is compared with the reference")
                continue
            file = scratch / f"{name}.npz"
            with progress.task(f"running {name}", 1.0) as advance:
                tap(path, file, artifact=name, samples=samples)
                advance(1, "")
            here[name] = stack.enter_context(open_taps(file))
        return compare_taps(
            path,
            judged or list(here.values()),
            judges,
            hosts=here if taps else {},
            bounds=bounds,
            progress=progress,
        )


def _tap_there(
    bundle: Bundle, path: Path, artifacts: Sequence[str], target: str, samples: int, folder: Path
) -> list[Path]:
    return tap_device(
        path,
        make_device(target),
        _asked(bundle, artifacts) or [entry.id for entry in _int8_or_all(bundle)],
        samples=samples,
        out=folder / "there",
        patience=Patience(),
        console=open_console(),
    )


def _asked(bundle: Bundle, names: Sequence[str]) -> list[str]:
    return [select(bundle.manifest, artifact=name).chosen[0].id for name in names]


def _int8_or_all(bundle: Bundle) -> list[Artifact]:
    entries = bundle.manifest.artifacts
    return [entry for entry in entries if entry.precision == "int8"] or list(entries)


def _chosen(bundle: Bundle, names: Sequence[str]) -> list[str]:
    if names:
        return _asked(bundle, names)
    wanted = _int8_or_all(bundle)
    runnable = [entry.id for entry in wanted if _has_runtime(entry)]
    if not runnable:
        raise InputError(
            f"none of {', '.join(entry.id for entry in wanted)} has a runtime here: "
            "pip install onnxruntime ai-edge-litert"
        )
    return runnable


def _has_runtime(entry: Artifact) -> bool:
    try:
        get_runtime(entry.runtime).find()
    except InputError:
        return False
    return True


def _judges(
    bundle: Bundle,
    path: Path,
    entries: Sequence[Artifact],
    folder: Path | None,
    *,
    trusted: str,
) -> Mapping[str, Reference]:
    """A reference for each artifact; those of one network and precision share it.

    One with scales of its own (`Target.optional`) is held against its file, run as written.
    """
    made: dict[tuple[str, str], Reference] = {}
    apart: dict[str, Reference] = {}
    for entry in entries:
        key = entry.network, entry.precision
        if is_optional(entry):
            file = bundle.read(entry.file)
            apart[entry.id] = OnnxReference(file, title=f"{entry.id} as written")
            continue
        if key in made:
            continue
        if folder is not None:
            network, precision = key
            made[key] = load_reference(
                folder, network=network, precision=precision, bundle=path, trusted=trusted
            )
            continue
        alike = [a for a in bundle.manifest.artifacts if (a.network, a.precision) == key]
        files = (a for a in alike if a.runtime == "ort" and not is_optional(a))
        source = next(files, None)
        if source is None:
            raise InputError(
                f"{entry.id} has nothing to be compared with: the bundle has no ONNX file of it, "
                "and no folder `reference` lies beside it; give one with --reference"
            )
        made[key] = OnnxReference(bundle.read(source.file), title=f"{source.id} as written")
    return {e.id: apart.get(e.id) or made[e.network, e.precision] for e in entries}
