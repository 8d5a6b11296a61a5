"""The pipeline: recipe in, measured bundle out. Read `run` from top to bottom.

Up to the ONNX files values are torch's; after them they are bytes. Every long step is a stage
of the store (`pipeline.store`): found if it was done before, made whole otherwise.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeticket.device_runner import __version__
from edgeticket.device_runner.atomic import make_folder, write_atomic
from edgeticket.device_runner.bundle import open_bundle
from edgeticket.device_runner.report import Report, read_report
from edgeticket.device_runner.strict_json import to_json
from edgeticket.pipeline.bill import BILL, CARD, DataFacts, gather_facts, write_bill
from edgeticket.pipeline.bundle import StoredInput, write_bundle, zip_bundle
from edgeticket.pipeline.convert.targets import EXPORT_TOOLS
from edgeticket.pipeline.data.examples import Carried
from edgeticket.pipeline.data.targets import Targets
from edgeticket.pipeline.devices.local import measure
from edgeticket.pipeline.output_folder import check_replaceable, put_in_place, scratch_folder
from edgeticket.pipeline.page.render import write_page
from edgeticket.pipeline.page.sources import gather
from edgeticket.pipeline.progress import Progress
from edgeticket.pipeline.quantize import exact_share, fold_bn
from edgeticket.pipeline.recipe import BenchConfig, Recipe
from edgeticket.pipeline.reference.networks import save_references
from edgeticket.pipeline.run.artifacts import Artifacts, build_artifacts
from edgeticket.pipeline.run.candidate import TRAINING_TOOLS, Candidate, Job
from edgeticket.pipeline.run.decided import decided_recipe, recipe_text
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.run.preflight import check_recipe
from edgeticket.pipeline.run.summary import Pruned, Summary, summarize
from edgeticket.pipeline.store import RECORD, locked
from edgeticket.pipeline.tickets.file import SettledBySeed, decode, encode, is_strong, weigh


def run(
    recipe: Recipe,
    *,
    recipe_folder: Path,
    out: Path,
    data_folder: Path,
    remeasure: bool,
    progress: Progress,
    store: Path | None = None,
) -> Summary:
    """Carry out a recipe; the results are in ``out / recipe.name``.

    Args:
        recipe: what to do.
        recipe_folder: where relative paths of the recipe start.
        out: the folder for results and for the stage store.
        data_folder: where data sets and weights lie.
        remeasure: measure even when the same bundle has been measured here.
        progress: shows how far it is.
        store: the folder of the stage store; None: within ``out``.

    Raises:
        InputError: something that was given cannot be used.
    """
    job = Job.open(
        recipe,
        recipe_folder=recipe_folder,
        store=store or out / ".stages",
        data_folder=data_folder,
        progress=progress,
    )

    make_folder(out)
    with locked(out / f".{recipe.name}.lock"):
        check_replaceable(out / recipe.name)
        check_recipe(job)
        dense = dense_network(job)
        ticket = dense
        for position in range(len(recipe.compress)):
            ticket = apply_pass(job, ticket, position)

        artifacts = build_artifacts(job, dense, ticket)
        progress.say(f"artifacts          {len(artifacts.files)} files")

        scratch = scratch_folder(out / recipe.name)
        (scratch / "bundle").mkdir()
        pruned = describe_zeros(job, ticket, scratch / f"{recipe.name}.ticket")
        _write_bundle(job, scratch / "bundle", artifacts, ticket, pruned)
        _write_references(scratch, dense, ticket, networks=artifacts.networks)
        zip_bundle(scratch / "bundle", scratch / "bundle.zip")
        reports = _measure(job, scratch, remeasure=remeasure)

        summary = summarize(scratch / "bundle", reports, ticket.timed_log, pruned)
        write_atomic(scratch / "summary.json", summary.to_json().encode())
        write_atomic(scratch / "summary.md", summary.to_markdown().encode())
        text = recipe_text(decided_recipe(recipe, ticket.log), folder=recipe_folder)
        write_atomic(scratch / "recipe.yaml", text.encode())
        write_page(gather([scratch]), scratch / "report.html")
        facts = gather_facts(scratch / "bundle", data=_data_facts(job), reports=reports)
        write_bill(facts, scratch / BILL, scratch / CARD)
        put_in_place(scratch, out / recipe.name)
    return summary


def _data_facts(job: Job) -> DataFacts:
    names = ("train", "validation", "calibration", "test")
    return DataFacts(job.data.digest, {name: len(getattr(job.data, name)) for name in names})


def describe_zeros(job: Job, ticket: Candidate, file: Path) -> Pruned | None:
    """What single weights that were pruned bring; a strong ticket is also written to ``file``."""
    if ticket.mask is None:
        return None
    sizes = None
    model = job.recipe.model
    drawn: dict[str, Any] = {
        "init": model.init,
        "init_kept": model.init_kept,
        "seed": job.recipe.seed,
    }
    if is_strong(ticket.network, ticket.mask, **drawn):
        data = encode(ticket.network, ticket.mask, **drawn, settled=_settled(ticket))
        again = decode(data, place=str(file))
        assert again.network.digest == ticket.network.digest
        write_atomic(file, data)
        sizes = weigh(data, again)
    assert ticket.scales is not None  # a recipe ends with the pass that decides them
    masked = ticket.mask.tensors.values()
    return Pruned(
        weights=sum(kept.numel() for kept in masked),
        kept=sum(int(kept.sum()) for kept in masked),
        exact_in_int8=exact_share(
            fold_bn(ticket.network.module(), ticket.network.input_shapes), ticket.scales
        ),
        ticket_file=sizes,
    )


def _settled(ticket: Candidate) -> SettledBySeed | None:
    """What a seed decided of the mask, by the log of the search."""
    found = [entry["settled"] for entry in ticket.log if "settled" in entry]
    return SettledBySeed.model_validate(found[-1]) if found else None


def _write_bundle(
    job: Job, folder: Path, artifacts: Artifacts, ticket: Candidate, pruned: Pruned | None
) -> None:
    baseline = job.recipe.bundle.baseline
    samples = job.data.test.carried(job.recipe.bundle.samples)
    provenance: dict[str, Any] = {
        "recipe": job.recipe.model_dump(mode="json", by_alias=True),
        "steps": list(ticket.log),
        "pruned": to_json(pruned),
        "tools": {
            "edgeticket": __version__,
            **{
                tool: importlib.metadata.version(tool)
                for tool in sorted({*TRAINING_TOOLS, *EXPORT_TOOLS})
            },
        },
    }
    write_bundle(
        folder,
        name=job.recipe.name,
        artifacts=[pair for pair in artifacts.files if baseline or pair[0].role == "deploy"],
        inputs=[
            StoredInput(name, stored, job.data.capture, job.data.preprocessing)
            for name, stored in zip(artifacts.inputs, samples.inputs, strict=True)
        ],
        targets=_carried_targets(job, samples),
        chunks=samples.chunks,
        outputs=artifacts.outputs,
        references=artifacts.references,
        random=job.data.random,
        dataset=job.data.name,
        labels=job.data.labels,
        networks=artifacts.networks,
        provenance=provenance,
        integer=artifacts.integer,
        max_p90_ms=job.recipe.bundle.max_p90_ms,
        separator_bias=artifacts.separator_bias,
    )


def _carried_targets(job: Job, samples: Carried) -> Any:
    """What is right for the samples; of those that nobody knows it of, when answers agree."""
    task = job.recipe.task
    if samples.targets is not None or task is None:
        return samples.targets
    return Targets(task.task, {}, len(samples.inputs[0]))


def _write_references(
    scratch: Path, dense: Candidate, ticket: Candidate, *, networks: Iterable[str]
) -> None:
    """The torch networks that `edgeticket diff` holds the artifacts against."""
    with open_bundle(scratch / "bundle") as bundle:
        digest = bundle.digest
    assert ticket.scales is not None
    by_name = {"dense": dense.network, "ticket": ticket.network}
    save_references(
        scratch / "reference",
        bundle_digest=digest,
        fp32={name: by_name[name] for name in networks},
        int8=ticket.network,
        scales=ticket.scales,
    )


def _measure(job: Job, scratch: Path, *, remeasure: bool) -> list[Report]:
    """Measure the bundle on this machine; the reports are copied to ``scratch / "reports"``."""

    with open_bundle(scratch / "bundle") as bundle:
        digest = bundle.digest
    result = job.store.stage(
        "measure",
        functools.partial(_write_reports, bundle=scratch / "bundle", bench=job.recipe.bench),
        config={
            "bench": job.recipe.bench.model_dump(),
            "machine": [platform.node(), platform.machine(), os.cpu_count()],
        },
        inputs={"bundle": digest},
        tools=EXPORT_TOOLS,
        fresh=remeasure,
    )
    reports = scratch / "reports"
    reports.mkdir()
    for file in result.folder.glob("*.json"):
        if file.name != RECORD:
            shutil.copyfile(file, reports / file.name)
    return [read_report(file) for file in sorted(reports.iterdir())]


def _write_reports(folder: Path, resume: Path, *, bundle: Path, bench: BenchConfig) -> None:
    measure(bundle, folder, bench)
