"""Where two versions of a network part, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError

if TYPE_CHECKING:
    from edgeticket.pipeline.progress import Progress
    from edgeticket.pipeline.why.applied import Applied
    from edgeticket.pipeline.why.question import Answer


def why(
    first: StrPath,
    second: StrPath,
    *,
    samples: StrPath | None = None,
    count: int = 16,
    bundle: StrPath | None = None,
    without_dot_products: bool = False,
    apply: bool = False,
    recipe: StrPath | None = None,
    out: StrPath = "why",
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> tuple[Answer, Applied | None]:
    """Find the layer where the second parts from the first or loses time, and the cause.

    Args:
        first: what is taken to be right: a .onnx, .tflite, .pt2 or recipe file, the folder of a
            run, ``BUNDLE:ID``, or a report.
        second: what is asked about, of the same.
        samples: a .npy or .npz of inputs as the first takes them; None: those of a bundle that one
            of the two is in, else noise.
        count: how many samples.
        bundle: where the artifact of a report lies.
        without_dot_products: judge the second as for an x86 CPU without VNNI.
        apply: run the recipe before and after the remedies.
        recipe: that recipe; None: the one of ``first`` and ``second`` that is one.
        out: where these runs go.
        data: where data sets lie, for these runs.
        progress: where to show how far it is; None: nowhere.

    Returns:
        What was found, and what ``apply`` measured; None without it, or where nothing was found.

    Raises:
        InputError: either cannot be used, or ``apply`` has no recipe that a remedy changes.
    """
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.why import read_subject
    from edgeticket.pipeline.why import why as ask
    from edgeticket.pipeline.why.applied import apply as try_remedies
    from edgeticket.pipeline.why.subject import RECIPES

    recipes = [Path(each) for each in (recipe, first, second) if each is not None]
    named = next((each for each in recipes if each.suffix in RECIPES), None)
    if apply and named is None:
        raise InputError("--apply runs a recipe before and after: name it with --recipe")
    place = optional_path(bundle)
    answer = ask(
        read_subject(str(first), bundle=place, samples=count),
        read_subject(str(second), bundle=place, samples=count),
        samples=optional_path(samples),
        count=count,
        without_dot_products=without_dot_products,
    )
    if not apply or named is None or not answer.findings:
        return answer, None
    applied = try_remedies(
        answer.findings,
        named,
        out=Path(out),
        data=optional_path(data),
        progress=progress or QUIET,
    )
    return answer, applied
