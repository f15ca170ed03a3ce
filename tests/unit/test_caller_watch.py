"""What nobody waits for any more is cancelled, once, and never after it has ended."""

from __future__ import annotations

import threading

from federation.execution.caller_watch import cancelled_without_caller


def test_work_without_a_caller_is_cancelled_once() -> None:
    cancelled = threading.Event()
    count = []

    def cancel() -> None:
        count.append(1)
        cancelled.set()

    with cancelled_without_caller(lambda: False, cancel):
        assert cancelled.wait(10)
        other = threading.Event()
        # another call is looked at after this one: by then this one would have been cancelled again
        with cancelled_without_caller(lambda: False, other.set):
            assert other.wait(10)
    assert len(count) == 1


def test_work_with_a_caller_goes_on_while_another_is_cancelled() -> None:
    mine, other = threading.Event(), threading.Event()
    with cancelled_without_caller(lambda: True, mine.set):
        with cancelled_without_caller(lambda: False, other.set):
            assert other.wait(10)
        assert not mine.is_set()


def test_the_end_waits_for_a_cancellation_under_way() -> None:
    began, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def cancel() -> None:
        began.set()
        may_end.wait(10)
        order.append("cancelled")

    def work() -> None:
        with cancelled_without_caller(lambda: False, cancel):
            began.wait(10)
        order.append("ended")

    worker = threading.Thread(target=work)
    worker.start()
    assert began.wait(10)
    may_end.set()
    worker.join(10)
    assert order == ["cancelled", "ended"]
