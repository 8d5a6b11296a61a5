"""Recipes carried out, and what they would do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeticket.api.paths import StrPath, optional_path
from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.errors import RecipeError, raised_as

if TYPE_CHECKING:
    from edgeticket.pipeline.inspect.file import FileInspection
    from edgeticket.pipeline.inspect.network import Inspection
    from edgeticket.pipeline.progress import Progress
    from edgeticket.pipeline.recipe import Recipe
    from edgeticket.pipeline.run.sensitivity import Sensitivity
    from edgeticket.pipeline.run.summary import Summary


def run(
    recipe: StrPath | Recipe,
    *,
    out: StrPath = "runs",
    overrides: Sequence[str] = (),
    data: StrPath | None = None,
    remeasure: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Carry out a recipe: network to ticket to int8 files to bundle, measured here and compared.

    ``out/NAME/``, NAME being the recipe's, then holds ``bundle`` and ``bundle.zip``, ``reports``,
    ``reference``, the summary, and what the bundle is made of: ``bom.cdx.json`` (CycloneDX) and
    ``model-card.md``. What was done before is found again, so a run that was stopped goes on where
    it was.

    Args:
        recipe: a recipe file, the name of a ready one, or a recipe that was read. Relative paths in
            it start beside the file; of one that was read, in the current folder.
        out: where results go.
        overrides: ``key=value``, as ``--set`` takes them; only for a recipe that is named.
        data: where data sets and weights lie; None: ``$EDGETICKET_DATA``, else
            ``~/.cache/edgeticket/data``.
        remeasure: measure again, even if nothing has changed.
        progress: where to show how far it is; None: nowhere.

    Returns:
        Every artifact with size, latency, score, and what it lost or won; `Summary.to_json` has it
        as text.

    Raises:
        RecipeError: the recipe cannot be read, or says something that a recipe cannot.
        ConversionError: the network cannot become a file that the recipe asks for.
        InputError: data or weights are absent or do not fit, a training diverged, or measuring
            failed.
    """
    whole, beside = whole_recipe(recipe, overrides)  # before torch is loaded, which takes seconds

    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.run.pipeline import run as carry_out

    return carry_out(
        whole,
        recipe_folder=beside,
        out=Path(out),
        data_folder=data_folder(optional_path(data)),
        remeasure=remeasure,
        progress=progress or QUIET,
    )


def sensitivity(
    recipe: StrPath | Recipe,
    *,
    out: StrPath = "runs",
    overrides: Sequence[str] = (),
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Say which layers suffer from int8: each alone is rounded, the others stay in float32.

    Args:
        recipe, out, overrides, data, progress: as for `run`; the result is also written to
            ``out/NAME/sensitivity.json``.

    Returns:
        For each layer accuracy, agreement with float32 and KL divergence on the validation set.

    Raises:
        RecipeError: the recipe cannot be read, or says something that a recipe cannot.
        InputError: data or weights are absent or do not fit.
    """
    whole, beside = whole_recipe(recipe, overrides)

    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.progress import QUIET
    from edgeticket.pipeline.run.sensitivity import measure_sensitivity

    return measure_sensitivity(
        whole,
        recipe_folder=beside,
        out=Path(out),
        data_folder=data_folder(optional_path(data)),
        progress=progress or QUIET,
    )


def read_recipe(recipe: StrPath, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        recipe: a YAML file, or the name of a ready recipe, such as ``demo``.
        overrides: ``key=value``, e.g. ``train.epochs=3`` or ``compress.0.budget.macs=0.3``.

    Raises:
        RecipeError: it cannot be read, or says something that a recipe cannot.
    """
    from edgeticket.pipeline.recipe import read_recipe as read
    from edgeticket.pipeline.recipe.ready import ready_file

    with raised_as(RecipeError):
        return read(ready_file(Path(recipe), kind="recipe"), overrides)


def inspect(
    subject: StrPath,
    *,
    size: tuple[int, ...] | tuple[tuple[int, ...], ...] = (3, 224, 224),
    args: Mapping[str, bool | int | float | str] | None = None,
    data: StrPath | None = None,
    progress: Progress | None = None,
) -> Inspection | FileInspection:
    """Say what would happen to a network, before any work.

    Args:
        subject: a recipe; ``torchvision:NAME``, ``timm:NAME``, ``import:package.module:function``
            or one of this project's, such as ``resnet20``; or a .onnx or .tflite file.
        size: what a network from elsewhere takes, without the batch; or a shape for each of several
            inputs.
        args: of the network.
        data: as for `run`.
        progress: as for `run`.

    Returns:
        Its layers with their costs; which passes can act on it, and where; how each operator is
        written for each runtime; and what is in the way. ``usable`` says whether an int8 file can
        be made of it; of a file that is int8 already, or TFLite, whether its runtime loads it.

    Raises:
        InputError: there is no such network, or it does not run.
    """
    from edgeticket.pipeline.convert.targets import runtimes_by_suffix
    from edgeticket.pipeline.data import data_folder
    from edgeticket.pipeline.inspect.file import inspect_file
    from edgeticket.pipeline.inspect.network import inspect_network
    from edgeticket.pipeline.inspect.subject import network_of
    from edgeticket.pipeline.network.finished import read_finished
    from edgeticket.pipeline.progress import QUIET

    if Path(subject).suffix == ".pt2":
        return inspect_network(read_finished(Path(subject)), progress=progress or QUIET)
    if Path(subject).suffix in runtimes_by_suffix():
        return inspect_file(Path(subject))
    network = network_of(
        str(subject),
        size=size,
        args=args or {},
        data_folder=data_folder(optional_path(data)),
        progress=progress or QUIET,
    )
    return inspect_network(network, progress=progress or QUIET)


def init(
    model: str,
    folder: StrPath | None = None,
    *,
    out: StrPath = "recipe.yaml",
    task: str | None = None,
    weights: str | None = None,
    size: int | None = None,
    takes: Sequence[tuple[int, ...]] = (),
    force: bool = False,
) -> Path:
    """Write a recipe for a network and its data; it runs as it is.

    Args:
        model: a network, as for `inspect`, or a .onnx or .pt2 file; a name alone is torchvision's.
        folder: pictures in one folder for each class, a .npz with an array for each input, or the
            data of ``task``; None: random numbers.
        out: the recipe's file.
        task: what is asked of the outputs, if not classes.
        weights: a file of trained ones, tried before the recipe is written; None: it trains.
        size: height and width of one input; None: what most pictures have, up to 224.
        takes: the shape of each input without the batch, where neither pictures nor a .npz say it.
        force: replace what is at ``out``.

    Returns:
        The file.

    Raises:
        InputError: there is no such network, data or weights, they do not fit, or a file is at
            ``out``.
    """
    from edgeticket.device_runner.atomic import make_folder, write_atomic
    from edgeticket.models.imported import look_in
    from edgeticket.pipeline.inspect.first_network import Wishes
    from edgeticket.pipeline.inspect.first_recipe import write_first_recipe

    file = Path(out)
    if file.exists() and not force:
        raise InputError(f"{file} is there already: give another -o, or --force to replace it")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.") or "recipe"
    look_in((file.parent, Path()))
    data = optional_path(folder)
    text = write_first_recipe(Wishes(name, model, data, weights, size, tuple(takes), task))
    make_folder(file.parent)
    write_atomic(file, text.encode())
    return file


def whole_recipe(recipe: StrPath | Recipe, overrides: Sequence[str]) -> tuple[Recipe, Path]:
    """A recipe, and the folder that its paths start in."""
    from edgeticket.pipeline.recipe import Recipe
    from edgeticket.pipeline.recipe.ready import ready_file

    if not isinstance(recipe, Recipe):
        whole = read_recipe(recipe, overrides=overrides)
        return whole, ready_file(Path(recipe), kind="recipe").parent
    if overrides:
        raise InputError("overrides are for a recipe that is named by its file")
    return recipe, Path()
