"""Quantisation-aware training: what it trains is what is exported."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from torch import fx
from training_fixtures import StopAfter

from edgeticket.device_runner.errors import InputError
from edgeticket.models.imported import look_in
from edgeticket.models.network import Network
from edgeticket.pipeline.convert.targets import TARGETS
from edgeticket.pipeline.data import load_dataset
from edgeticket.pipeline.export import export
from edgeticket.pipeline.progress import QUIET, Progress, Quiet
from edgeticket.pipeline.quantize import (
    FakeQuantize,
    fake_quantized,
    fold_bn,
    quantize,
    written_back,
)
from edgeticket.pipeline.quantize.learned import AveragedQuantize, FixedLayer, LearnedQuantize
from edgeticket.pipeline.quantize.placement import place
from edgeticket.pipeline.quantize.qat import finish, fixed, moving, settle
from edgeticket.pipeline.quantize.scales import ActivationScale, Scales
from edgeticket.pipeline.recipe import Ptq, Qat, check
from edgeticket.pipeline.recipe.recipe import Recipe
from edgeticket.pipeline.run.candidate import Candidate, Job
from edgeticket.pipeline.run.dense import dense_network
from edgeticket.pipeline.run.passes import apply_pass
from edgeticket.pipeline.run.quantize_passes import quantize_while_training
from edgeticket.pipeline.store import Store
from edgeticket.pipeline.train import evaluate

BRIEF: dict[str, object] = {"epochs": 2, "batch_size": 50, "lr": 0.05, "warmup": 0.0}
TUNED = {"epochs": 2, "batch_size": 50, "lr": 0.01, "warmup": 0.0}
DATA = {"name": "digits", "train": 300, "validation": 100, "calibration": 50, "test": 50}
QAT = {"method": "qat", "range_lr": 0.01, "train": TUNED}
AWARE = Qat(method="qat")


def recipe(*passes: dict[str, object], training: dict[str, object] = BRIEF) -> Recipe:
    document = {
        "name": "aware",
        "data": DATA,
        "model": {"arch": "digits_cnn", "args": {"width": 4}},
        "train": training,
        "compress": passes,
    }
    return check(Recipe, document, place="test")


def carried_out(
    store: Path,
    *passes: dict[str, object],
    training: dict[str, object] = BRIEF,
    progress: Progress = QUIET,
) -> tuple[Job, list[Candidate]]:
    made = recipe(*passes, training=training)
    job = Job(made, load_dataset(made.data, seed=0, folder=Path()), Store(store), progress)
    candidates = [dense_network(job)]
    for position in range(len(passes)):
        candidates.append(apply_pass(job, candidates[-1], position))
    return job, candidates


def folded_of(network: Network) -> fx.GraphModule:
    return fold_bn(network.module(), network.input_shape)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


def test_it_starts_from_ptq_and_moves_weights_and_ranges(store: Path) -> None:
    _, (dense, ptq, qat) = carried_out(store, {"method": "ptq"}, QAT)
    assert ptq.network.digest == dense.network.digest  # min-max moves no weight
    assert qat.network.digest != dense.network.digest
    assert ptq.scales is not None
    assert qat.scales is not None
    assert qat.scales.activations.keys() == ptq.scales.activations.keys()
    for name, start in ptq.scales.activations.items():
        # Two epochs of twelve steps, in logarithms of at most 0.01 each, and the alignment.
        assert qat.scales.activations[name].scale == pytest.approx(start.scale, rel=0.2)
    assert qat.scales != ptq.scales


def test_training_heals_what_coarse_scales_broke(store: Path) -> None:
    """Against the accuracy that the same scales have without training."""
    long = {**BRIEF, "epochs": 25, "lr": 0.1}
    job, (dense, ptq) = carried_out(store, {"method": "ptq"}, training=long)
    assert ptq.scales is not None
    # A sixth of the range: most values saturate.
    narrow = {
        name: ActivationScale(float(np.float32(a.scale / 6)), a.zero_point)
        for name, a in ptq.scales.activations.items()
    }
    broken = Scales(narrow, ptq.scales.weights)
    before = fake_quantized(folded_of(dense.network), broken)
    cfg = check(Qat, {**QAT, "range_lr": 0.03, "train": {**TUNED, "epochs": 4}}, place="test")
    start = Candidate(dense.network, None, broken, (), digest="")
    after = quantize_while_training(start, job.data, cfg, seed=0, resume=store, progress=QUIET)
    assert after.scales is not None

    def loss(module: torch.nn.Module) -> float:
        found = evaluate(module, job.data.validation, preprocessing=job.data.preprocessing)
        labels = torch.from_numpy(job.data.validation.labels)
        return float(torch.nn.functional.cross_entropy(torch.from_numpy(found.outputs), labels))

    trained = fake_quantized(folded_of(after.network), after.scales)
    assert loss(dense.network.module()) < 1.5  # of ln 10 = 2.3: it did learn
    assert loss(trained) < 0.9 * loss(before)


def test_scales_are_aligned_where_tensors_are_added(store: Path) -> None:
    network = Network.fresh("resnet20", {"width": 4}, seed=0)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    start = quantize(network.module(), [x], Ptq(method="ptq"))
    module = moving(start, AWARE)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("log_scale"):
                parameter.add_(0.3 * torch.randn((), generator=torch.Generator().manual_seed(1)))
    settled = settle(module, start)
    for names in place(settled.folded).additions:
        scales = [Fraction(settled.scales.activations[name].scale) for name in sorted(names)]
        ratios = [a / b for a in scales for b in scales]
        assert all(r.numerator % 2 == 1 and r.denominator % 2 == 1 for r in ratios)
    for name, scale in settled.scales.activations.items():
        learned = module.get_submodule(f"{name}_int8")
        assert isinstance(learned, LearnedQuantize)
        assert scale.scale >= float(learned.scale) * (1 - 1e-6)  # no range shrinks


def int8_layers(data: bytes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weight codes and scales of an ONNX file, by layer."""
    graph = onnx.load_from_string(data).graph
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    scales = {node.input[0]: node.input[1] for node in graph.node if len(node.input) == 3}
    names = [n.removesuffix(".weight") for n in tensors if n.endswith(".weight")]
    return {n: (tensors[f"{n}.weight"], tensors[scales[f"{n}.weight"]]) for n in names}


def test_what_is_exported_is_what_was_trained_last(store: Path) -> None:
    class Spy(FixedLayer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = self.rounded_weight().detach().clone(), self.rounded_bias()
            return super().forward(x)

    x = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    network = Network.fresh("digits_cnn", {"width": 4}, seed=0)
    start = quantize(network.module(), [x], Ptq(method="ptq"))
    module = fixed(start)
    for name in start.scales.weights:
        module.get_submodule(name).__class__ = Spy
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(5):
        optimizer.zero_grad()
        module(x).square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        expected = module(x)  # the last forward
    done = finish(module, start)
    assert done.scales == start.scales
    deployed = written_back(network, done.folded)
    rounded = fake_quantized(folded_of(deployed), done.scales)
    assert torch.equal(rounded(x), expected)
    layers = int8_layers(TARGETS["onnx-int8-s8"].convert(export(rounded)).data)
    assert layers.keys() == start.scales.weights.keys()
    for name, (codes, scales) in layers.items():
        weight, _ = module.get_submodule(name).last
        assert tuple(scales.tolist()) == done.scales.weights[name]
        column = scales.reshape(-1, *[1] * (codes.ndim - 1))
        assert np.array_equal(codes * column, weight.numpy())
        before = start.folded.get_submodule(name).weight.detach().numpy()
        assert np.abs(codes * column - before).max() > column.max()  # it did learn


def test_parameters_of_norms_are_trained_and_exported(store: Path) -> None:
    network = Network.fresh("digits_vit", {}, seed=0)
    x = torch.rand(8, *network.input_shape, generator=torch.Generator().manual_seed(0))
    start = quantize(network.module(), [x], Ptq(method="ptq"))
    module = fixed(start)
    weights = dict(network.module().named_parameters())
    moving_constants = dict(module.named_parameters(recurse=False))
    assert moving_constants
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    done = finish(module, start)
    deployed = written_back(network, done.folded)
    norms = [n for n in weights if "norm" in n]
    assert any(not torch.equal(deployed.weights[n], weights[n]) for n in norms)
    with torch.no_grad():
        assert torch.equal(fake_quantized(folded_of(deployed), done.scales)(x), module(x))


def test_a_run_that_was_stopped_ends_in_the_same_bits(tmp_path: Path, store: Path) -> None:
    _, (*_, whole) = carried_out(store, {"method": "ptq"}, QAT)
    for steps in (2, 9):  # training the dense network took its steps before
        carried_out(tmp_path / str(steps), {"method": "ptq"})
        with pytest.raises(KeyboardInterrupt):
            carried_out(tmp_path / str(steps), {"method": "ptq"}, QAT, progress=StopAfter(steps))
        _, (*_, resumed) = carried_out(tmp_path / str(steps), {"method": "ptq"}, QAT)
        assert resumed.network.digest == whole.network.digest
        assert resumed.scales == whole.scales


def test_masked_weights_stay_zero_through_training(store: Path) -> None:
    magnitude = {"method": "magnitude", "sparsity": 0.7}
    _, (*_, ticket, aware) = carried_out(store, magnitude, {**QAT, "ranges": "averaged"})
    assert ticket.mask is not None
    assert aware.mask is not None
    assert aware.mask.digest == ticket.mask.digest
    assert aware.network.digest != ticket.network.digest
    for name, kept in aware.mask.tensors.items():
        assert not aware.network.weights[name][~kept].any()


def test_the_gradient_passes_inside_and_moves_the_range() -> None:
    """Against finite differences of the function that LSQ says it descends."""
    quantizer = LearnedQuantize(ActivationScale(0.5, -100))
    low, high = quantizer.span()
    x = torch.tensor([low - 3, low - 0.1, -1.3, 0.0, 0.2, 7.77, high + 2], requires_grad=True)
    upstream = torch.tensor([0.3, -1.0, 2.0, 1.0, -0.5, 0.7, 1.5])
    (quantizer(x) * upstream).sum().backward()
    assert x.grad is not None
    inside = torch.tensor([False, True, True, True, True, True, False])  # 0.1 rounds to the end
    assert torch.equal(x.grad, upstream * inside)
    counts = x.detach() / 0.5
    to_scale = torch.where(
        inside, counts.round() - counts, torch.tensor([low, 0, 0, 0, 0, 0, high]) / 0.5
    )
    assert quantizer.log_scale.grad == pytest.approx(
        0.5 * float((to_scale * upstream).sum()), rel=1e-5
    )
    assert quantizer.zero_point.grad == pytest.approx(
        -0.5 * float((~inside * upstream).sum()), rel=1e-5
    )


def test_learned_ranges_find_a_better_scale_than_they_start_with() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    quantizer = LearnedQuantize(ActivationScale(0.25, 20))  # eight times too wide, and off

    def error() -> torch.Tensor:
        return (quantizer(values) - values).square().mean()

    before = error().item()
    optimizer = torch.optim.Adam(
        [{"params": [quantizer.log_scale], "lr": 0.05}, {"params": [quantizer.zero_point], "lr": 1}]
    )
    for _ in range(120):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert error().item() < before / 20


def test_averaged_ranges_follow_the_batches_and_rest_in_evaluation() -> None:
    quantizer = AveragedQuantize(ActivationScale(0.5, 0), momentum=0.5)
    batch = torch.tensor([-1.0, 0.0, 9.0])
    for _ in range(30):
        quantizer(batch)
    assert quantizer.span() == pytest.approx((-1.0, 9.0), rel=1e-4)
    quantizer.eval()(batch * 100)
    assert quantizer.span() == pytest.approx((-1.0, 9.0), rel=1e-4)


def test_rounding_is_in_float32_whatever_surrounds_it() -> None:
    x = torch.tensor([0.1 * i for i in range(50)])
    for quantizer in (
        LearnedQuantize(ActivationScale(0.25, 0)),
        FakeQuantize(ActivationScale(0.25, 0)),
    ):
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(quantizer(x), quantizer(x.float()))
            assert quantizer(x).dtype == torch.float32


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ([QAT, {"method": "ptq"}], "must end with"),
        ([{"method": "ptq"}, {**QAT, "keep_fp32": ["conv1"]}], "say keep_fp32 in ptq"),
        ([{"method": "ptq"}, {"method": "finetune"}], "must end with"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    passes: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        recipe(*passes)


NETS = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.BatchNorm2d(6, affine=False),
        nn.ConvTranspose2d(6, 4, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 10),
    )
"""


class Said(Quiet):
    """Keeps what is said."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_layers_that_cannot_be_written_back_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "upwards_nets.py").write_text(NETS)
    look_in((tmp_path,))
    document = {
        "name": "upwards",
        "data": DATA,
        "model": {"import": "upwards_nets:make"},
        "train": BRIEF,
        "compress": [{"method": "ptq"}, QAT],
    }
    made = check(Recipe, document, place="test")
    data = load_dataset(made.data, seed=0, folder=Path())
    said: list[str] = []
    job = Job(made, data, Store(tmp_path / "stages"), Said(said))
    dense = dense_network(job)
    after = apply_pass(job, apply_pass(job, dense, 0), 1)
    (sentence,) = (line for line in said if "these layers stay as they are" in line)
    assert "_3" in sentence
    assert "_4" not in sentence  # the transposed convolution is trained as one
    before = dense.network.weights
    moved = {n for n, w in after.network.weights.items() if not torch.equal(w, before[n])}
    assert moved == {f"{layer}.{tensor}" for layer in (0, 4, 7) for tensor in ("weight", "bias")}
