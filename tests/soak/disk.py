"""Disks that fill up: small file systems in memory, where this user may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSIDE = "SOAK_HAS_MOUNTS"  # in the environment of a process with mounts of its own: 1, or 0


def enter_namespace() -> None:
    """Start this program again where its mounts are its own and end with it, if that is allowed."""
    if _INSIDE in os.environ:
        return
    os.environ[_INSIDE] = "0"
    for rights in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *rights, "--mount", "--"]
        probe = "mount -t tmpfs -o size=4096 tmpfs /mnt"
        if shutil.which("unshare") and _succeeds(*command, "sh", "-c", probe):
            os.environ[_INSIDE] = "1"
            os.execvp(command[0], [*command, sys.executable, "-m", "tests.soak", *sys.argv[1:]])


def can_mount() -> bool:
    return os.environ.get(_INSIDE) == "1"


def mount(folder: Path, size: int) -> None:
    """An empty file system of so many bytes, in whole pages, at an existing folder."""
    options = f"size={size},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def grow(folder: Path) -> None:
    """Room for everything."""
    subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)


def unmount(folder: Path) -> None:
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0
