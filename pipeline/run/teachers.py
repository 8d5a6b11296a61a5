"""Who teaches a training: a network of the same run, or an imported one."""

from __future__ import annotations

from dataclasses import replace

from edgeticket.models.own import is_own
from edgeticket.pipeline.data import Teacher
from edgeticket.pipeline.network.file import import_weights
from edgeticket.pipeline.network.weights import find_weights
from edgeticket.pipeline.recipe import TeacherConfig, TrainConfig
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.fitting import answers_of, check_takes, pixels_of_weights


def with_teacher(job: Job, training: TrainConfig | None, *, before: Candidate | None) -> Job:
    """The job of a pass whose examples are taught by whom its training names, if it names one.

    Args:
        job: the run.
        training: that of the pass, or of the dense network; None: it has none.
        before: what the pass works on.

    Raises:
        InputError: weights to import are missing, or do not fit.
    """
    if training is None or training.distil is None:
        return job
    chosen = training.distil.teacher
    if chosen.step is None:
        teacher = _imported(job, chosen)
    else:
        chain: list[Candidate] = []
        while before is not None:
            chain.insert(0, before)
            before = before.before
        earlier = job.recipe.networks_before(len(chain) - 1)
        index = chosen.find(earlier, place="train")
        assert index is not None  # it names a step
        teacher = Teacher(chain[index].network, job.data.preprocessing)
    return replace(job, data=job.data.taught_by(teacher))


def _imported(job: Job, cfg: TeacherConfig) -> Teacher:
    assert cfg.weights is not None
    assert cfg.arch is not None
    place = "distil.teacher"
    file = find_weights(cfg.weights, folders=job.folders)
    if job.data.train.targets is None:
        check_takes(cfg.arch, cfg.args, job.data, place=place)
    else:
        answers_of(cfg.arch, cfg.args, job.data, place=place)
    takes = job.data.input_shape if is_own(cfg.arch) else ()
    network = import_weights(file, cfg.arch, cfg.args, takes=takes)
    steps = pixels_of_weights(cfg.pixel_mean, cfg.pixel_std, job.data, place=place)
    return Teacher(network, steps)
