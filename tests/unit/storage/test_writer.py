"""The background writer: bounded, in order, and no error is lost."""

import threading
from collections.abc import Callable

import pytest

from rewardscope.storage.writer import BackgroundWriter


def test_all_tasks_are_done_at_the_end_and_actions_run_in_the_callers_thread_after_them() -> None:
    done: list[object] = []
    with BackgroundWriter(threads=3, pending=2) as writer:
        for group in range(5):
            futures = [
                writer.submit(lambda number=number: number * number) for number in range(group)
            ]
            writer.then(
                lambda futures=futures: done.append(
                    [future.result(timeout=0) for future in futures]
                )
            )
        writer.then(lambda: done.append(threading.current_thread()))
    assert done == [[], [0], [0, 1], [0, 1, 4], [0, 1, 4, 9], threading.main_thread()]


def test_the_queue_is_bounded() -> None:
    permits, futures = threading.Semaphore(0), []
    with BackgroundWriter(threads=1, pending=2) as writer:
        for number in range(100):
            if number >= 2:
                permits.release()
            futures.append(writer.submit(permits.acquire))
            assert number < 2 or futures[number - 2].done()  # it has waited for the oldest
        permits.release(2)


def fail() -> None:
    raise OSError("disk is full")


def use(steps: list[Callable[[BackgroundWriter], object]], *, pending: int) -> None:
    with BackgroundWriter(threads=1, pending=pending) as writer:
        for step in steps:
            step(writer)


def test_the_error_of_a_task_is_raised_by_a_later_call() -> None:
    reached: list[int] = []
    with pytest.raises(OSError, match="disk is full"):
        use(
            [lambda w: w.submit(fail), lambda w: w.submit(list), lambda _: reached.append(1)],
            pending=1,
        )
    assert reached == []


def test_the_error_of_the_last_task_is_raised_at_the_end_and_what_follows_is_not_recorded() -> None:
    recorded: list[int] = []
    with pytest.raises(OSError, match="disk is full"):
        use([lambda w: w.submit(fail), lambda w: w.then(lambda: recorded.append(1))], pending=9)
    assert recorded == []


def test_where_the_body_fails_its_own_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        use([lambda w: w.submit(fail), lambda _: 1 // 0], pending=9)
