"""The network that somebody wants to look at: of a recipe, or by its name alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeticket.models import ARCHITECTURES
from edgeticket.models.imported import look_in
from edgeticket.models.network import Network, Takes
from edgeticket.models.own import is_own
from edgeticket.pipeline.network.file import new_network
from edgeticket.pipeline.network.finished import model_args
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.recipe import read_recipe
from edgeticket.pipeline.recipe.ready import ready_file
from edgeticket.pipeline.run.candidate import Job


def network_of(
    subject: str,
    *,
    size: Takes,
    args: Mapping[str, Any],
    data_folder: Path,
    progress: Progress,
) -> Network:
    """The network of a recipe, or a random one of the architecture that is named.

    Args:
        subject: a recipe's file or ready name, or an architecture as `models.build` takes it.
        size: what an architecture from elsewhere takes, without the batch; or a shape for each of
            several inputs.
        args: of the architecture.
        data_folder: where a recipe's data lie.
        progress: shows how far reading a recipe's data is.

    Raises:
        InputError: there is no such recipe or architecture, or it cannot be built.
    """
    if subject in ARCHITECTURES or is_own(subject):
        look_in((Path(),))
        return new_network(subject, args, seed=0, takes=size if is_own(subject) else ())
    path = ready_file(Path(subject), kind="recipe")
    recipe = read_recipe(path)
    job = Job.open(
        recipe,
        recipe_folder=path.parent,
        store=Path("runs") / ".stages",
        data_folder=data_folder,
        progress=progress,
    )
    arch = recipe.model.architecture
    takes = job.data.input_shape if is_own(arch) else ()
    return new_network(arch, model_args(recipe.model, folders=job.folders), seed=0, takes=takes)
