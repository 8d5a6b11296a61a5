"""The training loop."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeticket.pipeline.data import Split
from edgeticket.pipeline.graph.batches import Batch
from edgeticket.pipeline.progress import QUIET, Progress
from edgeticket.pipeline.prune.mask import Mask
from edgeticket.pipeline.recipe import TrainConfig
from edgeticket.pipeline.task import Loss
from edgeticket.pipeline.task.own import loss_for
from edgeticket.pipeline.train.batches import as_taken, check_moves, stored_of
from edgeticket.pipeline.train.distil import Answers, Distillation
from edgeticket.pipeline.train.epoch import Epoch, derived_seed
from edgeticket.pipeline.train.optimizers import Optimizers, new_optimizers, zero
from edgeticket.pipeline.train.state import TrainingState
from edgeticket.pipeline.train.step import Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train(
    module: nn.Module,
    split: Split,
    cfg: TrainConfig,
    *,
    preprocessing: Sequence[Mapping[str, Any]],
    seed: int,
    loss: Loss | None = None,
    penalty: Callable[[], Tensor | float] | None = None,
    adam_lr: Mapping[str, float] | None = None,
    adam_scheduled: bool = False,
    mask: Mask | None = None,
    epochs: range | None = None,
    after_epoch: Callable[[], bool] | None = None,
    resume: Path | None = None,
    progress: Progress = QUIET,
    title: str = "train",
) -> None:
    """Train ``module`` in place, on the first GPU or else the CPU; it ends on the CPU.

    `lightning_fabric`'s launcher (``fabric run --devices 4 ...``) spreads it over several. The
    result depends on the arguments alone, and on the CPU also on PyTorch's number of threads.

    Args:
        module: takes float32 [N, C, ...].
        split: the examples, with a teacher if ``cfg.distil`` wants one.
        cfg: how long, how fast, in which order.
        preprocessing: the steps of the data set.
        seed: decides order and augmentation.
        loss: None is that of the split's task.
        penalty: what is added to the loss besides.
        adam_lr: parameters, by name, that are no weights of the network: Adam trains them at
            this rate, beside the optimizer of ``cfg``.
        adam_scheduled: whether that rate follows the schedule of ``cfg``, too, or is constant.
        mask: weights that are, and stay, exactly zero.
        epochs: which epochs of ``cfg.epochs`` this run does, as the schedule counts them; None
            is all of them.
        after_epoch: called when an epoch is done and before its state is kept; True ends the run.
        resume: a state file, replaced after each epoch; a run that finds it goes on from there
            and ends in the same bits as an undisturbed one.
        progress: shows the loss, and what else the task tells, on the training examples.
        title: what the progress says.

    Raises:
        InputError: the loss is no longer a number; ``resume`` belongs to another run; teacher and
            network do not fit.
    """
    fabric = _new_fabric(cfg)
    # Channels-last convolutions train faster, and NHWC images are in that format already.
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    check_moves(cfg.augment, split, views=cfg.views)
    loss = loss or loss_for(cfg, split)
    lesson = _lesson(module, split, cfg, loss, preprocessing=preprocessing, seed=seed)
    optimizers = new_optimizers(
        module,
        cfg,
        adam_lr or {},
        adam_scheduled=adam_scheduled,
        besides=lesson.parameters() if lesson else (),
    )
    learn = _new_step(fabric, module, optimizers, loss, lesson=lesson, penalty=penalty)
    gone = _gone(fabric, module, mask)
    span = epochs or range(cfg.epochs)
    kept = {"module": module} | ({"lesson": lesson} if lesson else {})
    state = TrainingState(resume, _run_name(cfg, seed, split, span, mask), kept, optimizers.all)
    first_epoch = state.load() or span.start
    zero(gone, optimizers.all)
    ask = _ask(fabric, lesson) if lesson is not None and lesson.of_outputs_alone else None
    one_epoch = Epoch(fabric, learn, optimizers, gone, split, cfg, preprocessing, seed, title, ask)
    with (
        _reproducible(fabric.device),
        progress.task(title, total=len(span) * one_epoch.steps) as advance,
    ):
        advance((first_epoch - span.start) * one_epoch.steps, "")
        for epoch in range(first_epoch, span.stop):
            one_epoch.run(epoch, advance)
            ended = after_epoch is not None and after_epoch()
            if fabric.is_global_zero:
                state.save(span.stop if ended else epoch + 1)
            fabric.barrier()
            if ended:
                break
    if pace := one_epoch.pace.line():
        progress.say(f"  {title}: {pace}")
    if lesson is not None:
        lesson.close()
    module.cpu().eval()


def _new_fabric(cfg: TrainConfig) -> Fabric:
    from lightning_fabric import Fabric  # takes half a second, which only training needs

    # Else it announces the precision at every training.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return Fabric(
        devices=os.environ.get("LT_DEVICES", 1),
        precision="bf16-mixed" if multiplies_in(cfg.precision) == "bf16" else "32-true",
    )


def multiplies_in(precision: str) -> str:
    """`fp32` or `bf16`; of `auto`, whichever is faster on this machine."""
    if precision != "auto":
        return precision
    has_bf16 = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if torch.cuda.is_available()
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return "bf16" if has_bf16 else "fp32"


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Kernels whose sums have one order, and the random state of the caller untouched."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(deterministic=True, benchmark=False),
    ):
        yield


def _lesson(
    module: nn.Module,
    split: Split,
    cfg: TrainConfig,
    loss: Loss,
    *,
    preprocessing: Sequence[Mapping[str, Any]],
    seed: int,
) -> Distillation | None:
    """What the teacher of ``split`` adds to ``loss``; ``seed`` draws what that has to learn."""
    if split.teacher is None or cfg.distil is None:
        if split.teacher is not None or cfg.distil is not None:
            raise ValueError("a teacher and cfg.distil come together")
        return None
    teacher = split.teacher.network.module()
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    few = stored_of(split.take(np.arange(2) % len(split)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed))
        return Distillation(
            module,
            teacher,
            cfg.distil,
            of_labels=loss,
            see=functools.partial(as_taken, preprocessing=split.teacher.preprocessing),
            example=(as_taken(few, preprocessing), few),
        )


def _new_step(
    fabric: Fabric,
    module: nn.Module,
    optimizers: Optimizers,
    loss: Loss,
    *,
    lesson: Distillation | None,
    penalty: Callable[[], Tensor | float] | None,
) -> Step:
    """What is done with each batch, on the device of ``fabric``."""
    wrapped, *wrapped_optimizers = fabric.setup(module, *optimizers.all)
    taught = lesson and _on_device(fabric, lesson)
    return Step(fabric, wrapped, wrapped_optimizers, loss, lesson=taught, penalty=penalty)


def _ask(fabric: Fabric, lesson: Distillation) -> Callable[[Batch], Answers]:
    """The teacher of ``lesson``, in the precision of the training."""

    def ask(stored: Batch) -> Answers:
        with fabric.autocast():
            return lesson.ask(stored)

    return ask


def _gone(fabric: Fabric, module: nn.Module, mask: Mask | None) -> dict[nn.Parameter, Tensor]:
    """Where the weights of each parameter are that ``mask`` zeroes."""
    return {
        module.get_parameter(name): fabric.to_device(~kept)
        for name, kept in (mask.tensors if mask else {}).items()
    }


def _on_device(fabric: Fabric, lesson: Distillation) -> nn.Module:
    """The lesson and its teacher, where the training is."""
    for teacher in lesson.teacher:
        fabric.to_device(teacher)
    if next(lesson.parameters(), None) is None:
        return lesson  # there is nothing to keep equal on several devices
    return fabric.setup_module(lesson)


def _run_name(cfg: TrainConfig, seed: int, split: Split, span: range, mask: Mask | None) -> str:
    """What must be the same for a run to go on from a state file."""
    name = f"{cfg.model_dump_json()} seed {seed}, {len(split)} examples, epochs {span}"
    name = f"{name}, {multiplies_in(cfg.precision)}"
    name = f"{name}, mask {mask.digest}" if mask else name
    return f"{name}, teacher {split.teacher.digest}" if split.teacher else name
