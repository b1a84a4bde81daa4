"""Names of models and data sets."""

from pathlib import Path

import pytest

from rewardscope.paths import hub_name, slug


@pytest.mark.parametrize(
    ("name", "hub_id", "revision", "short"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None, "Qwen3-8B"),
        ("Qwen/Qwen3-8B@v1.0", "Qwen/Qwen3-8B", "v1.0", "Qwen3-8B"),
        ("org/sums:main@refs/pr/3", "org/sums:main", "refs/pr/3", "sums-main"),
        ("a/b/x@y", "a/b/x@y", None, "x-y"),
        ("x@y.jsonl", "x@y.jsonl", None, "x-y"),
    ],
)
def test_what_stands_behind_the_at_of_a_hub_id_is_its_revision(
    name: str, hub_id: str, revision: str | None, short: str
) -> None:
    assert hub_name(name) == (hub_id, revision)
    assert slug(name) == short


def test_a_file_with_an_at_in_its_name_has_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data/x@y")
    path.mkdir(parents=True)
    assert hub_name(str(path)) == ("data/x@y", None)
