"""Benchmarks: each measures ours beside a peer or a limit in the same run and appends a row to
`results/<what>.jsonl`.
"""
