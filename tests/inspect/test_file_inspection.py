"""`edgeticket inspect FILE`: what is in a model file, and what can become of it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx_fixtures import export_onnx
from torch import nn
from typer.testing import CliRunner

from edgeticket.device_runner.errors import InputError
from edgeticket.pipeline.cli import app
from edgeticket.pipeline.inspect.file import inspect_file

FILES = Path(__file__).parents[1] / "foreign"


class Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(1).values


def written(folder: Path, layer: nn.Module) -> Path:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), layer, nn.Flatten(), nn.Linear(320, 5))
    file = folder / "model.onnx"
    file.write_bytes(export_onnx(module.eval(), torch.zeros(1, 3, 8, 10)))
    return file


def test_a_float_file_is_followed_to_int8(tmp_path: Path) -> None:
    file = written(tmp_path, nn.ReLU())
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, file)
    found = inspect_file(file)
    assert [(p.direction, p.dtype, p.shape) for p in found.ports] == [
        ("input", "float32", ("batch", 3, 8, 10)),
        ("output", "float32", (1, 5)),
    ]
    assert [(n.kind, n.macs) for n in found.layers] == [("Conv", 108 * 80), ("Gemm", 1600)]
    assert (found.parameters, found.macs) == (112 + 1605, 10240)
    assert found.files["tflite-int8"].possible
    assert found.files["as it is"].possible
    assert found.usable


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, Sorted())
    result = CliRunner().invoke(app, ["inspect", str(file), "--json", str(tmp_path / "i.json")])
    assert result.exit_code == 1
    assert "not known to the converter" in result.output
    assert "TopK" in (tmp_path / "i.json").read_text()


def test_names_in_a_file_are_text(tmp_path: Path) -> None:
    """Markup, escape sequences and line breaks in names of layers and values."""
    file = written(tmp_path, nn.ReLU())
    model = onnx.load(file)
    model.graph.node[0].name = "[/bold][link=x]\x1b[31m\nred\u202e"
    model.graph.input[0].name = "[/x]\x9b2J"
    model.graph.node[0].input[0] = "[/x]\x9b2J"
    onnx.save(model, file)
    result = CliRunner().invoke(app, ["inspect", str(file)], env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert r"[/bold][link=x]\x1b[31m\nred\u202e" in result.output
    assert r"[/x]\x9b2J" in result.output


def test_an_operator_that_is_not_known_is_named_before_other_advice(tmp_path: Path) -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            turned = x.flatten(2).permute(1, 0, 2)  # moves the batch, which is refused too
            return turned.sort(2).values.permute(1, 0, 2).unflatten(2, (8, 10))

    told = inspect_file(written(tmp_path, Turned())).files["tflite-int8"].told
    assert "(TopK) has no counterpart here" in told
    assert "`edgeticket bundle`" in told


def test_a_tflite_file_shows_its_scales() -> None:
    found = inspect_file(FILES / "int8.tflite")
    assert {port.direction: port.dtype for port in found.ports} == {
        "input": "int8",
        "output": "int8",
    }
    assert all(port.scale and port.zero_point is not None for port in found.ports)
    assert {n.kind: n.macs for n in found.layers if n.macs} == {
        "CONV_2D": 8640,
        "FULLY_CONNECTED": 16,
    }
    assert found.usable
    assert not any(port.scale for port in inspect_file(FILES / "float.tflite").ports)


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_damaged_files_are_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    for data in (b"", b"nonsense" * 9, (FILES / "int8.tflite").read_bytes()[:300]):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="is no whole") as caught:
            inspect_file(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        inspect_file(tmp_path / f"absent-{name}")
