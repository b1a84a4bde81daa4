"""Run every benchmark, or those named: `python -m benchmarks generate`."""

import importlib
import sys
from pathlib import Path


def main() -> None:
    known = sorted(
        path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")
    )
    for name in sys.argv[1:] or known:
        if name not in known:
            raise SystemExit(f"benchmarks: unknown name {name!r}; known: {', '.join(known)}")
        importlib.import_module(f"benchmarks.bench_{name}").main()


if __name__ == "__main__":
    main()
