import json
from pathlib import Path

import datasets
import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest

from rewardscope.errors import BadRecord, ConfigError, MissingInput, UnknownName
from rewardscope.problems.datasets import gold_text, load_problems
from rewardscope.problems.tinymath import load_tinymath

ROWS = [{"problem": "One and one?", "answer": "2"}, {"problem": "Two and two?", "answer": "4"}]


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"problem": "Q?", "answer": "\\frac{1}{2}", "level": 3}, "Q?", "\\frac{1}{2}"),
        ({"question": "Q?", "answer": 33}, "Q?", "33"),
        ({"question": "Q?", "answer": "Janet makes $<<9*2=18>>18.\n#### 18"}, "Q?", "18"),
        ({"question": "Q?", "final_answer": ["$2$"], "unit": None, "error": None}, "Q?", "2"),
        (
            {"question": "Q?", "final_answer": ["$166$"], "unit": "$cm^2$", "error": "1e-1"},
            "Q?",
            "166",
        ),
        ({"question": "Q?", "final_answer": ["$10$,$100$"], "unit": None}, "Q?", "10, 100"),
        (
            {"question": "Q?", "final_answer": ["$(-\\infty, 0) \\cup\\{1\\}$."]},
            "Q?",
            "(-\\infty, 0) \\cup\\{1\\}",
        ),
        ({"question": "Q?", "gold": "x"}, "Q?", "x"),
        (
            {"problem": "Q?", "solution": "First \\boxed{1}. No: $z=\\boxed{\\{1,\n2\\}}$."},
            "Q?",
            "\\{1, 2\\}",
        ),
        ({"problem": "Q?", "answer": None, "solution": "So \\boxed{4.5e33}."}, "Q?", "4.5e33"),
        ({"question": " Q?\n", "problem": "other", "answer": "5."}, "Q?", "5"),
    ],
)
def test_every_published_schema_gives_a_question_and_bare_latex(tmp_path, row, question, answer):
    (problem,) = load_problems(write_jsonl(tmp_path / "Set_1.jsonl", [row]))
    assert (problem.id, problem.dataset, problem.question, problem.answer) == (
        "Set_1/0",
        "Set_1",
        question,
        answer,
    )


@pytest.mark.parametrize(
    ("error", "tolerance"),
    [("1e-1", 0.1), ("1e-1,1e-2", 0.01), (None, None), ("", None), ("a note", None)],
)
def test_the_error_that_a_data_set_allows_comes_along(tmp_path, error, tolerance):
    (problem,) = load_problems(
        write_jsonl(
            tmp_path / "set.jsonl", [{"question": "Q?", "final_answer": ["4.2"], "error": error}]
        )
    )
    assert problem.tolerance == tolerance


def test_dollars_that_are_money_stay():
    assert gold_text(r"\$5") == r"\$5"


@pytest.mark.parametrize("form", ["jsonl", "array", "lines in .json", "parquet"])
def test_the_same_rows_load_the_same_from_any_file_type(tmp_path, form):
    if form == "jsonl":
        path = tmp_path / "set.jsonl"
        write_jsonl(path, ROWS)
    elif form == "parquet":
        path = tmp_path / "set.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path = tmp_path / "set.json"
        path.write_text(
            json.dumps(ROWS) if form == "array" else "\n".join(map(json.dumps, ROWS)),
            encoding="utf-8",
        )
    problems = load_problems(str(path))
    assert [(p.id, p.question, p.answer) for p in problems] == [
        ("set/0", "One and one?", "2"),
        ("set/1", "Two and two?", "4"),
    ]


def test_the_limit_takes_the_first_problems_and_keeps_their_ids(tmp_path):
    path = write_jsonl(tmp_path / "set.jsonl", ROWS)
    assert load_problems(path, limit=1) == load_problems(path)[:1]
    assert load_problems("tinymath", limit=3) == load_tinymath()[:3]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ConfigError, match=f"limit {limit}"):
        load_problems("tinymath", limit=limit)


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(UnknownName, match="did you mean 'tinymath'"):
        load_problems("tinymat")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingInput, match="no such file"):
        load_problems(str(tmp_path / "nothing.jsonl"))


@pytest.mark.parametrize(
    ("row", "what"),
    [({"answer": "1"}, "no question"), ({"problem": "Q?", "solution": "none"}, "no gold answer")],
)
def test_a_row_without_question_or_gold_is_named_by_its_line(tmp_path, row, what):
    with pytest.raises(BadRecord, match=f"line 3: {what}"):
        load_problems(write_jsonl(tmp_path / "set.jsonl", [*ROWS, row]))


@pytest.mark.parametrize(("name", "content"), [("a.json", "[1, 2]"), ("a.parquet", "not parquet")])
def test_a_file_that_is_not_what_its_name_says_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BadRecord) as error:
        load_problems(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_an_empty_file_is_a_missing_input(tmp_path):
    with pytest.raises(MissingInput, match="no rows"):
        load_problems(write_jsonl(tmp_path / "set.jsonl", []))


@pytest.mark.usefixtures("no_network")
def test_a_repository_of_files_gives_its_test_split(tmp_path):
    write_jsonl(tmp_path / "Repo/data/train-00000.jsonl", [{"problem": "Train?", "answer": "0"}])
    write_jsonl(tmp_path / "Repo/data/test-00000.jsonl", ROWS)
    problems = load_problems(str(tmp_path / "Repo"))
    assert [(p.id, p.question) for p in problems] == [
        ("Repo/0", "One and one?"),
        ("Repo/1", "Two and two?"),
    ]


@pytest.mark.usefixtures("no_network")
def test_a_repository_of_parquet_with_one_split_gives_that(tmp_path):
    (tmp_path / "Repo").mkdir()
    rows = [{"question": "Q?", "final_answer": ["$2$"], "unit": None}]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "Repo" / "train.parquet"
    )
    assert [p.answer for p in load_problems(str(tmp_path / "Repo"))] == ["2"]


@pytest.fixture
def two_configs(tmp_path: Path) -> str:
    write_jsonl(tmp_path / "Two/a.jsonl", [{"question": "A?", "answer": "1"}])
    write_jsonl(tmp_path / "Two/b.jsonl", [{"question": "B?", "answer": "2"}])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in "ab")
    (tmp_path / "Two" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n", encoding="utf-8")
    return str(tmp_path / "Two")


@pytest.mark.usefixtures("no_network")
def test_one_of_several_configs_is_named_after_a_colon(two_configs):
    (problem,) = load_problems(f"{two_configs}:b")
    assert (problem.id, problem.question) == ("Two-b/0", "B?")
    with pytest.raises(ConfigError, match="Two:a; known: a, b"):
        load_problems(two_configs)
    with pytest.raises(UnknownName, match="known: a, b"):
        load_problems(f"{two_configs}:c")


@pytest.mark.usefixtures("no_network")
def test_a_hub_id_that_cannot_be_reached_says_why_and_what_to_do():
    with pytest.raises(MissingInput) as error:
        load_problems("math-ai/minervamat")
    message = str(error.value)
    assert (
        "Offline" in message
        and "did you mean math-ai/minervamath?" in message
        and "pass a local" in message
    )
    assert "\n" not in message


@pytest.mark.usefixtures("no_network")
def test_the_hub_gets_the_token(two_configs, monkeypatch):
    seen = {}
    for name in ("get_dataset_config_names", "load_dataset"):
        real = getattr(datasets, name)

        def record(*arguments, _real=real, _name=name, token, revision):
            seen[_name] = token
            assert revision is None
            return _real(*arguments)

        monkeypatch.setattr(datasets, name, record)
    load_problems(f"{two_configs}:a", hf_token="secret")
    assert seen == {"get_dataset_config_names": "secret", "load_dataset": "secret"}


def test_a_revision_behind_the_name_is_asked_of_the_hub(monkeypatch):
    asked = []

    def names(source, *, revision, token):
        asked.append((source, revision))
        return ["main"]

    def rows(source, config, *, revision, token):
        asked.append((source, config, revision))
        return {"test": [{"question": "1 + 1", "answer": "2"}]}

    monkeypatch.setattr(datasets, "get_dataset_config_names", names)
    monkeypatch.setattr(datasets, "load_dataset", rows)
    [problem] = load_problems("org/sums:main@v2.0")
    assert asked == [("org/sums", "v2.0"), ("org/sums", "main", "v2.0")]
    assert problem.id == "sums-main/0"
