"""torchvision and torchaudio beside this torch, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile


def _run(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchvision_models_transforms_and_data_sets() -> None:
    printed = _run(
        "import torch\n"
        "from edgeticket.models.torchvision_cure import import_torchvision\n"
        "torchvision = import_torchvision()\n"
        "assert import_torchvision() is torchvision\n"
        "from torchvision import models\n"
        "from torchvision.datasets import CIFAR10\n"
        "from torchvision.transforms import v2\n"
        "x = v2.Resize(32)(torch.zeros(1, 3, 64, 64))\n"
        "print(tuple(models.mobilenet_v2().eval()(x).shape), CIFAR10.__name__)\n"
    )
    assert printed.split() == ["(1,", "1000)", "CIFAR10"]


def test_torchaudio_features_and_files(tmp_path: Path) -> None:
    wave = (0.5 * np.sin(np.arange(1600) / 8)).astype(np.float32)
    soundfile.write(tmp_path / "tone.wav", np.stack([wave, -wave], axis=1), 16000, subtype="FLOAT")
    printed = _run(
        "import sys, torch\n"
        "from edgeticket.models.torchvision_cure import import_torchaudio\n"
        "torchaudio = import_torchaudio()\n"
        "waveform, rate = torchaudio.load(sys.argv[1], frame_offset=100, num_frames=1000)\n"
        "mel = torchaudio.transforms.MelSpectrogram(rate, n_fft=256, n_mels=20)(waveform)\n"
        "torch.testing.assert_close(waveform[0], -waveform[1])\n"
        "print(tuple(waveform.shape), rate, tuple(mel.shape), float(waveform.abs().max()))\n",
        str(tmp_path / "tone.wav"),
    )
    assert printed.startswith("(2, 1000) 16000 (2, 20, 8) 0.499")


def test_importing_the_cure_imports_neither() -> None:
    _run(
        "import sys, models.torchvision_cure\n"
        "assert not {'torchvision', 'torchaudio', 'soundfile'} & set(sys.modules)\n"
    )


def test_the_cure_leaves_loaded_packages_alone() -> None:
    # A package that is there already loads by itself; nothing must be declared over it.
    _run(
        "import sys, types, torch\n"
        "sys.modules['torchvision'] = vision = types.ModuleType('torchvision')\n"
        "sys.modules['torchaudio'] = audio = types.ModuleType('torchaudio')\n"
        "from edgeticket.models.torchvision_cure import import_torchaudio, import_torchvision\n"
        "assert import_torchvision() is vision and import_torchaudio() is audio\n"
        "assert not hasattr(torch.ops.torchvision, 'nms') and not hasattr(audio, 'load')\n"
        "assert 'torchaudio._extension' not in sys.modules\n"
    )
