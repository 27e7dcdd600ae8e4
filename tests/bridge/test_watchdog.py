"""The watchdog's decisions."""

from __future__ import annotations

from runtime.bridge.watchdog import Verdict, Watchdog


def test_two_probes_in_a_row_without_an_answer_mean_deaf() -> None:
    """One miss is forgiven, the second is the verdict."""
    watchdog = Watchdog(misses_max=2)

    verdicts = [watchdog.beat(now, reading=True) for now in (0.0, 2.0, 4.0)]

    assert verdicts == [Verdict.PROBE, Verdict.PROBE, Verdict.DEAF]
    assert watchdog.misses_total == 2


def test_an_answer_clears_the_misses_and_gives_the_round_trip_time() -> None:
    """Answered probes keep the connection for ever."""
    watchdog = Watchdog(misses_max=2)

    for beat in range(10):
        assert watchdog.beat(beat * 2.0, reading=True) is Verdict.PROBE
        watchdog.answered(beat * 2.0 + 0.25, watchdog.sent)

    assert watchdog.rtt_s == 0.25
    assert watchdog.misses_total == 0


def test_a_late_answer_to_an_earlier_probe_proves_life() -> None:
    """Slow is not deaf; the round trip time is not taken from it."""
    watchdog = Watchdog(misses_max=2)
    watchdog.beat(0.0, reading=True)
    watchdog.beat(2.0, reading=True)

    watchdog.answered(2.5, 1)

    assert watchdog.beat(4.0, reading=True) is Verdict.PROBE
    assert watchdog.rtt_s == 0.0


def test_nothing_is_concluded_while_we_do_not_read_ourselves() -> None:
    """Back-pressure of our own is no silence of the server."""
    watchdog = Watchdog(misses_max=2)
    watchdog.beat(0.0, reading=True)

    paused = [watchdog.beat(now, reading=False) for now in (2.0, 4.0, 6.0)]

    assert paused == [Verdict.WAIT] * 3
    assert watchdog.beat(8.0, reading=True) is Verdict.PROBE
