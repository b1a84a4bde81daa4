"""Bad inputs as a table: what is in a file or a flag, the command that is given it, and its line.

`test_bad_inputs` runs them all.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

Files = Mapping[str, bytes]


class BadInput(NamedTuple):
    """A command in a folder that holds `files`; `line` is a pattern of what it says."""

    kind: str
    files: Files
    command: str
    line: str
    environment: Mapping[str, str] = {}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


PLAIN = {"problem": "What is 2+3?", "answer": "5", "solutions": ["Two\n\n\\boxed{5}"]}
TRACE = {
    "problem_id": "d/0",
    "index": 0,
    "steps": ["Two", "\\boxed{5}"],
    "scores": [0.5, 0.5],
    "finish": "eos",
    "n_tokens": 2,
    "correct": True,
}
PROBLEM = {"id": "d/0", "dataset": "d", "question": "What is 2+3?", "answer": "5"}
SOLVED = {"problem": PROBLEM, "traces": [TRACE], "chosen": 0}
DEEP, DIGITS, HALF = (
    b"[" * 100_000,
    b'{"problem": ' + b"9" * 10_000 + b"}",
    b'{"problem": "\\ud800"}',
)
LATIN, UTF16 = b'{"a": "\xe9"}', '{"a": 1}'.encode("utf-16")
MANY = "9" * 20


def _of_text(kind: str, command: str, name: str) -> list[BadInput]:
    """Return what no reader of JSON lines takes."""
    said = {
        "a byte of Latin-1": (b"\n" + LATIN, r"line 2: byte 8, 0xe9, is not UTF-8; save it as"),
        "UTF-16": (UTF16, "is UTF-16; save it as UTF-8"),
        "UTF-32": ("{}".encode("utf-32"), "is UTF-32; save it as UTF-8"),
        "half a character": (b'{"a": "\xe2\x82', "line 1: byte 8, 0xe2, is not UTF-8"),
        "a torn line": (b'{"problem": "Q', "line 1: not JSON"),
        "two objects in a line": (b"{} {}", "line 1: "),
        "a list": (b"[1]", "line 1: "),
        "a word": (b'"word"', "line 1: "),
        "null": (b"null", "line 1: "),
        "deep lists": (DEEP, "line 1: "),
        "a deep object": (b'{"a":' * 100_000, "line 1: "),
        "10,000 digits": (DIGITS, "line 1: "),
        "half a surrogate pair": (HALF, "line 1: "),
        "nothing": (b"", "has no rows"),
        "blank lines": (b"\n \n", "has no rows"),
    }
    return [
        BadInput(f"{kind}: {what}", {name: content}, command, rf"{name}.*{line}")
        for what, (content, line) in said.items()
    ]


def _imported(what: str, line: str, *, kind: str = "plain", **row: Any) -> BadInput:
    base = PLAIN if kind == "plain" else {}
    content = _json({name: value for name, value in (base | row).items() if value != "-"})
    command = f"import-traces --kind {kind} bad.jsonl"
    return BadInput(
        f"{kind}: {what}", {"bad.jsonl": content}, command, f"bad.jsonl line 1: .*{line}"
    )


def _solved(
    what: str, line: str, *, trace: Any = None, problem: Any = None, **row: Any
) -> BadInput:
    changed = (
        SOLVED | {"traces": [TRACE | (trace or {})], "problem": PROBLEM | (problem or {})} | row
    )
    files = {"bad.jsonl": _json(changed)}
    return BadInput(
        f"generations: {what}", files, "metrics --dataset bad.jsonl", f"line 1: .*{line}"
    )


def _problems(what: str, name: str, content: bytes, line: str) -> BadInput:
    command = f"infer --model_name m/m --datasets {name}"
    return BadInput(f"data set: {what}", {name: content}, command, f"{name}.*{line}")


def _flag(
    flags: str, line: str, *, task: str = "infer --model_name m/m --datasets tinymath"
) -> BadInput:
    return BadInput(f"flag: {flags}", {}, f"{task} {flags}", line)


def _sae(what: str, files: Files, line: str, *, folder: str = "layer_07") -> BadInput:
    inside = {f"{folder}/{name}": content for name, content in files.items()}
    return BadInput(f"SAE: {what}", inside, f"dash --ds-names none --sae {folder}", line)


def _saelens(what: str, line: str, **config: Any) -> BadInput:
    return _sae(what, {"sae_weights.safetensors": b"", "cfg.json": _json(config)}, line)


def _dictionary(what: str, line: str, trainer: Any, **more: Any) -> BadInput:
    return _sae(what, {"ae.pt": b"", "config.json": _json({"trainer": trainer} | more)}, line)


def _model(what: str, config: bytes, line: str) -> BadInput:
    command = "infer --model_name ./model --datasets tinymath"
    return BadInput(f"model: {what}", {"model/config.json": config}, command, line)


NAN = float("nan")
TEXTS = [
    *_of_text("plain", "import-traces --kind plain bad.jsonl", "bad.jsonl"),
    *_of_text("generations", "metrics --dataset bad.jsonl", "bad.jsonl"),
    _imported("NaN as the gold", "gold answer is nan", answer=NAN),
    _imported("an infinite gold", "gold answer is inf", answer=float("inf")),
    _imported("no question", "no text under question or problem", problem="-"),
    _imported("a list as the question", "no text under", problem=[1]),
    _imported("no solution", "no solution", solutions="-"),
    _imported("no solutions", "no solution", solutions=[]),
    _imported("a number as a solution", "no solution", solutions=[5]),
    _imported("a word as the reward", "the reward 'good' is no number", reward="good"),
    _imported("NaN as the reward", "the reward is NaN, infinite or too large", reward=NAN),
    _imported("a reward beyond a float", "NaN, infinite or too large", reward=10**400),
    _imported("a word as the verdict", "neither true nor false", correct="yes"),
    _imported("two rewards for one solution", "2 values under reward for 1", reward=[1, 2]),
    _imported("a word as the steps", "no list of str under steps", steps="One"),
    _imported("no code", "no list of str under code", kind="qwen-eval", problem="Q", answer="5"),
    _imported("no errors", "no list of int", kind="prmbench", modified_question="Q"),
    _imported("no steps", "no list of str under steps", kind="processbench", problem="Q"),
    _imported(
        "a label of -2", "is no position", kind="processbench", problem="Q", steps=["a"], label=-2
    ),
]
GENERATIONS = [
    _solved("NaN as a score", "", trace={"scores": [NAN, 0.5]}),
    _solved("a score too few", "1 scores for 2 steps", trace={"scores": [0.5]}),
    _solved("a label too few", "1 labels for 2 steps", trace={"labels": [True]}),
    _solved("ids without their count", "token ids, n_tokens is 2", trace={"token_ids": [1]}),
    _solved("an unknown end", "finish", trace={"finish": "tired"}),
    _solved("an empty delimiter", "the delimiter is empty", trace={"delimiter": ""}),
    _solved("a word as the index", r"traces\[0\]\.index: Expected int", trace={"index": "0"}),
    _solved("half an index", "Expected int", trace={"index": 0.5}),
    _solved("a step that is a number", "Expected str", trace={"steps": [1, 2]}),
    _solved("an unknown field", "unknown field problem.colour", problem={"colour": "red"}),
    _solved("an empty question", "the question is empty", problem={"question": " "}),
    _solved("no traces", "chosen 0 of 0 traces", traces=[]),
    _solved("a choice beyond", "chosen 3 of 1 traces", chosen=3),
    _solved("another problem's trace", "is of problem d/1", trace={"problem_id": "d/1"}),
    _solved("one index twice", "two traces have index 0", traces=[TRACE, TRACE]),
    BadInput(
        "generations: the same problem twice",
        {"bad.jsonl": _json(SOLVED) + b"\n" + _json(SOLVED)},
        "metrics --dataset bad.jsonl",
        "line 2: problem d/0 is in line 1 already",
    ),
]
DATA_SETS = [
    _problems("Latin-1", "d.jsonl", LATIN, "line 1: byte 8, 0xe9, is not UTF-8"),
    _problems("UTF-16", "d.json", UTF16, "is UTF-16"),
    _problems("a number", "d.json", b"7", "neither an array of objects nor"),
    _problems("a list of words", "d.json", b'["a"]', "neither an array of objects nor"),
    _problems("deep JSON", "d.json", DEEP, "nested too deeply"),
    _problems("half a pair", "d.json", b'[{"question": "\\udc00"}]', "half of a surrogate pair"),
    _problems("no question", "d.jsonl", b'{"answer": "5"}', "line 1: no question"),
    _problems("no gold", "d.jsonl", b'{"question": "Q"}', "line 1: no gold answer"),
    _problems("NaN as the gold", "d.json", b'[{"question": "Q", "answer": NaN}]', "is nan"),
    _problems("no parquet", "d.parquet", b"PAR1", "not a parquet file, or damaged"),
    _problems("an empty parquet", "d.parquet", b"", "not a parquet file, or damaged"),
    _problems("another ending", "d.txt", b"x", "must end in .jsonl, .json or .parquet"),
]
FLAGS = [
    _flag("--seed=-1", "--seed -1: it must be 0 or more"),
    _flag(f"--seed {MANY}", f"--seed {MANY}: it must be at most"),
    _flag(f"-n {MANY}", "-n 9+: it must be at most 100000"),
    _flag("-n 0", "n 0: at least 1 is needed"),
    _flag("-n 1.5", "-n 1.5: not a whole number"),
    _flag("--temperature nan", "--temperature nan: not a finite number"),
    _flag("--temperature inf", "--temperature inf: not a finite number"),
    _flag("--top-p nan", "--top-p nan: "),
    _flag("--limit=-3", "--limit -3: at least 1 is needed"),
    _flag("--part 3 --total 2", "--part 3 --total 2"),
    _flag(f"--total {MANY}", "--total"),
    _flag("--name ''", "--name is empty"),
    _flag("--name ../up", "--name '../up': a name has letters"),
    _flag("--engine warp", "unknown value of --engine 'warp'"),
    _flag("--colour red", "No idea what '--colour' is"),
    _flag("--layers 0-99999999999", "is no layer below 10000", task="dash --ds-names d"),
    _flag("--layers 3-1", "runs backwards", task="dash --ds-names d"),
    _flag(f"--resamples {MANY}", "at most 1000000", task="feature-diff --reasoning a --instruct b"),
]
SAES = [
    _sae("a torn config", {"sae.safetensors": b"", "cfg.json": b"{"}, "cfg.json: not JSON"),
    _sae("a list as config", {"sae.safetensors": b"", "cfg.json": b"[]"}, "Expected object"),
    _sae(
        "of another layer",
        {"sae.safetensors": b"", "cfg.json": _json({"architecture": "topk", "layer": 3})},
        "cfg.json is of layer 3, and its folder is layer_07",
    ),
    _saelens("of an MLP", "hook_name is", hook_name="blocks.7.hook_mlp_out"),
    _saelens("of a head", "hook_head_index is 1", hook_name="blocks.7.x", hook_head_index=1),
    _saelens("a number as hook", "hook_name: Expected str", hook_name=7),
    _dictionary(
        "of attention", "submodule_name is", {"dict_class": "A", "submodule_name": "attn_7"}
    ),
    _dictionary("of an input", "io is 'in'", {"dict_class": "A"}, buffer={"io": "in"}),
    _dictionary("a word as layer", "layer: Expected int", {"dict_class": "A", "layer": "x"}),
]
MODELS = [
    _model(
        "a reward model", _json({"architectures": ["LlamaForProcessRewardModel"]}), "reward model"
    ),
    _model("a torn config", b"{", "config.json: not JSON"),
    _model("a number as architecture", _json({"architectures": 3}), "architectures: Expected"),
    _flag(
        "--limit 1",
        "is not there; .* is no folder",
        task="infer --model_name ./no/m --datasets tinymath",
    ),
    BadInput(
        "env: a torn .env", {".env": b'A="b\n'}, "infer --model_name m", ".env line 1 is torn"
    ),
    BadInput("env: Latin-1", {".env": b"A=\xe9"}, "infer --model_name m", ".env line 1: a byte"),
    BadInput(
        "env: a file as the folder",
        {"f": b""},
        "infer --model_name m",
        "=f is a file",
        {"REWARD_SAES_DATA_DIR": "f"},
    ),
]
TABLE = [*TEXTS, *GENERATIONS, *DATA_SETS, *FLAGS, *SAES, *MODELS]
