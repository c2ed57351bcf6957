"""When a working program shows something new, on a clock that only this test moves."""

import threading
from itertools import pairwise

import pytest

from gan_core.pacing import MAX_WAIT, PREVIEW_SECONDS, PREVIEW_SHARE, TEXT_SECONDS, Every, Pace, preview_interval


def watched(step: float, preview: float, until: float = 90.0) -> tuple[list[float], list[float]]:
    """When texts and previews were seen of a work whose steps, and whose previews, take so many seconds each."""
    pace, now = Pace(), 100.0
    texts, previews = [], []
    while now < 100.0 + until:
        now += step
        if pace.text_is_due(now):
            texts.append(now)
        if pace.preview_is_due(now):
            began, now = now, now + preview
            previews.append(now)
            pace.preview_made(began, now)
    return texts, previews


def longest_gap(times: list[float]) -> float:
    return max(after - before for before, after in pairwise(times))


@pytest.mark.parametrize("step", [0.001, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("preview", [0.0, 0.01, 0.05])
def test_a_text_comes_about_every_second(step: float, preview: float) -> None:
    texts, _ = watched(step, preview)
    assert longest_gap(texts) <= TEXT_SECONDS + step + preview + 1e-6
    assert len(texts) <= 90 / TEXT_SECONDS + 90 / PREVIEW_SECONDS


@pytest.mark.parametrize("preview", [0.1, 0.5, 2.3, 4.0, 8.0])
def test_a_text_never_waits_for_pictures(preview: float) -> None:
    """But for the one that is just being drawn: a busy machine took 2.3 s for it, and then 77 s passed."""
    texts, _ = watched(0.1, preview)
    assert longest_gap(texts) <= max(TEXT_SECONDS, preview) + 0.1 + 1e-6


@pytest.mark.parametrize("preview", [0.0, 0.06, 0.3, 1.0, 2.3, 2.5])
def test_pictures_are_five_seconds_apart_at_most(preview: float) -> None:
    _, previews = watched(0.1, preview)
    assert longest_gap(previews) <= MAX_WAIT + 0.1 + 1e-6


@pytest.mark.parametrize("preview", [2.6, 8.0, 30.0])
def test_pictures_never_take_more_than_half_of_the_time(preview: float) -> None:
    _, previews = watched(0.1, preview, until=1000.0)
    assert 2 * preview <= longest_gap(previews) <= 2 * preview + 0.2


def test_cheap_pictures_come_every_two_seconds_and_dearer_ones_take_their_share() -> None:
    assert preview_interval(0.0) == preview_interval(PREVIEW_SECONDS * PREVIEW_SHARE) == PREVIEW_SECONDS
    assert preview_interval(0.1) == pytest.approx(0.1 / PREVIEW_SHARE)
    assert preview_interval(MAX_WAIT * PREVIEW_SHARE) == MAX_WAIT == preview_interval(MAX_WAIT / 2)


def test_the_first_moment_shows_both() -> None:
    pace = Pace()
    assert pace.text_is_due(0.0) and pace.preview_is_due(0.0)
    pace.preview_made(0.0, 0.1)
    assert not pace.text_is_due(0.5) and not pace.preview_is_due(0.5)
    assert pace.text_is_due(1.0) and not pace.text_is_due(1.5)


def test_what_comes_every_second_does_not_wait_for_the_work() -> None:
    """A step that measures KID or writes a checkpoint takes many seconds, in which nothing was told."""
    told, calls = threading.Event(), []

    def tell() -> None:
        calls.append(threading.current_thread())
        if len(calls) == 3:
            told.set()

    with Every(0.001, tell):
        assert told.wait(60), "nothing is told while the work goes on"
    assert threading.current_thread() not in calls
    assert not calls[0].is_alive(), "it goes on after its block"
