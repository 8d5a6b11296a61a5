"""`.ci/emulation` asks for the packages that a machine lacks, and for nothing where it has all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "emulation"
PACKAGES = {
    *("qemu-user-static", "mmdebstrap", "debian-archive-keyring", "nftables", "iproute2"),
    "buildah",
}
# As Debian's: an unknown package has no line, and the exit code is 1; a removed one that left its
# settings behind has another status.
DPKG = """#!/bin/sh
for last; do :; done
while read -r package status; do
    [ "$package" = "$last" ] && { printf %s "$status"; exit 0; }
done < STATUS
echo "dpkg-query: no packages found matching $last" >&2
exit 1
"""
APT = """#!/bin/sh
echo "$@" >> ASKED
case "$*" in *install*) echo "E: no space left"; exit 100;; esac
"""
NOTHING = "#!/bin/sh\nexit 1\n"


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ({}, PACKAGES),
        (dict.fromkeys(PACKAGES - {"buildah"}, "installed"), {"buildah"}),
        (dict.fromkeys(PACKAGES, "installed") | {"nftables": "config-files"}, {"nftables"}),
        (dict.fromkeys(PACKAGES, "installed"), set()),
    ],
    ids=["none", "all but one", "removed", "all"],
)
def test_what_is_missing_is_installed(
    status: dict[str, str], missing: set[str], tmp_path: Path
) -> None:
    (tmp_path / "status").write_text("".join(f"{k} {v}\n" for k, v in status.items()))
    asked = tmp_path / "asked"
    programs = {
        "dpkg-query": DPKG.replace("STATUS", str(tmp_path / "status")),
        "apt-get": APT.replace("ASKED", str(asked)),
        "id": "#!/bin/sh\necho 0\n",
        **dict.fromkeys(("mount", "unshare", "cat"), NOTHING),  # this machine stays as it is
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT)],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    lines = asked.read_text().splitlines() if asked.exists() else []
    wanted = {word for line in lines if "install" in line for word in line.split()} & PACKAGES
    assert wanted == missing
    assert ("no space left" in done.stdout) == bool(missing)
    assert not list(tmp_path.glob("tmp.*"))
