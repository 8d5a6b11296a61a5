"""From the command to a stage are four calls, so that a stranger finds what does the work."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeticket.pipeline.commands import recipes
from edgeticket.pipeline.store import Result, Store

RECIPE = {
    "name": "walk",
    "data": {"name": "digits"},
    "model": {"arch": "lenet5"},
    "train": {"epochs": 1, "lr": 0.1},
    "compress": [{"method": "magnitude", "sparsity": 0.5}, {"method": "ptq"}],
    "bench": {"min_seconds": 0.0, "min_queries": 1},
}


def test_at_most_four_calls_to_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, int] = {}
    stage = Store.stage

    def counted(self: Store, name: str, *args: Any, **options: Any) -> Result:
        modules = [frame.frame.f_globals["__name__"] for frame in inspect.stack()]
        ours = [module for module in modules if module.startswith("edgeticket.")]
        calls[name] = len(ours)  # the command's own frame counts for that of the stage
        return stage(self, name, *args, **options)

    monkeypatch.setattr(Store, "stage", counted)
    file = tmp_path / "walk.yaml"
    file.write_text(yaml.safe_dump(RECIPE))
    recipes.run(file, out=tmp_path / "runs", overrides=None, data=None, remeasure=False)
    assert {"train", "magnitude", "ptq", "artifacts", "measure"} <= calls.keys()
    assert max(calls.values()) <= 4, calls
