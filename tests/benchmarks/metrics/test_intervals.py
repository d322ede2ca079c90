import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.intervals import (
    _draws,
    difference,
    estimate,
    pooled,
    pooled_difference,
    ratio,
    value,
)

rows = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
    )
)


def test_mean_and_interval_of_a_coin():
    found = estimate(ratio([1] * 60 + [0] * 40))
    assert found.value == pytest.approx(0.6) and found.rows == 100
    # Normal approximation: 0.6 +- 1.96 * sqrt(0.24 / 100).
    assert found.low == pytest.approx(0.504, abs=0.02)
    assert found.high == pytest.approx(0.696, abs=0.02)


def test_equals_resampling_row_by_row():
    rng = np.random.default_rng(3)
    hits, extra, missed = rng.integers(0, 3, (3, 40))
    f1 = ratio(2 * hits, 2 * hits + extra + missed)
    slow = []
    for counts in _draws(40, 300, 5):
        drawn = np.repeat(np.arange(40), counts.astype(int))
        assert len(drawn) == 40
        tp, fp, fn = hits[drawn].sum(), extra[drawn].sum(), missed[drawn].sum()
        slow.append(2 * tp / (2 * tp + fp + fn))
    found = estimate(f1, resamples=300, seed=5)
    assert [found.low, found.high] == pytest.approx(list(np.quantile(slow, [0.025, 0.975])))


def test_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for i in range(200):
        found = estimate(ratio(rng.random(150) < 0.3), resamples=300, seed=i)
        inside += found.low <= 0.3 <= found.high
    assert 0.89 <= inside / 200 <= 0.99


def test_mean_of_two_ratios():
    # 2 of 2 positives and 1 of 4 negatives: balanced 0.625, plain 0.5.
    positive = np.array([1, 1, 0, 0, 0, 0])
    right = np.array([1, 1, 1, 0, 0, 0])
    metric = [*ratio(right * positive, positive), *ratio(right * (1 - positive), 1 - positive)]
    assert value(metric) == pytest.approx(0.625)


def test_undefined_is_none():
    found = estimate(ratio([0, 0], [0, 0]))
    assert (found.value, found.low, found.high, found.rows) == (None, None, None, 2)
    assert estimate(ratio([], [])).value is None
    assert math.isnan(value(ratio([0], [0])))


def test_all_the_same_has_no_width():
    found = estimate(ratio([1.0] * 20))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_paired_difference_is_narrower_than_two_intervals():
    rng = np.random.default_rng(1)
    before = rng.random(300) < 0.5
    after = before | (rng.random(300) < 0.1)  # better on some rows, worse on none
    found = difference(ratio(before), ratio(after))
    assert found.value == pytest.approx(after.mean() - before.mean())
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < estimate(ratio(after)).high - estimate(ratio(after)).low
    same = difference(ratio(before), ratio(before))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="same rows"):
        difference(ratio([1]), ratio([1, 0]))


@given(rows)
def test_a_share_stays_a_share(columns):
    tops, bottoms = columns
    found = estimate(ratio(np.minimum(tops, bottoms), bottoms), resamples=50)
    if sum(bottoms) == 0:
        assert found.value is None
    else:
        assert 0 <= found.low <= found.high <= 1 and 0 <= found.value <= 1
    assert found == estimate(ratio(np.minimum(tops, bottoms), bottoms), resamples=50)


def test_pooling_equal_runs_changes_nothing_and_unequal_runs_widen():
    rows = np.arange(60) % 3 == 0
    alone, same = estimate(ratio(rows)), pooled([ratio(rows)] * 3)
    assert (same.value, same.low, same.high) == pytest.approx((alone.value, alone.low, alone.high))
    apart = pooled([ratio(rows), ratio(np.zeros(60)), ratio(np.ones(60))])
    assert apart.value == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert apart.high - apart.low > same.high - same.low
    undefined = pooled([ratio(rows), ratio(np.zeros(60), np.zeros(60))])
    assert undefined.value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="the same rows"):
        pooled([ratio(rows), ratio(rows[:9])])


def test_a_pooled_difference_is_paired_over_rows():
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.5
    after = before | (rng.random(200) < 0.1)
    found = pooled_difference([ratio(before)], [ratio(after)] * 2)
    paired = difference(ratio(before), ratio(after))
    assert found.value == pytest.approx(paired.value) and found.low > 0
    assert found.high - found.low == pytest.approx(paired.high - paired.low, rel=0.2)
    none = pooled_difference([ratio(before)], [ratio(before)])
    assert (none.value, none.low, none.high) == (0, 0, 0)


def test_runs_that_began_with_those_before_are_drawn_together():
    """Runs that differ much, and all gain the same: how they differ is not of the gain."""
    rows = np.arange(200)
    before = [ratio(rows % 10 < share) for share in (2, 5, 8)]
    after = [ratio(rows % 10 < share + 1) for share in (2, 5, 8)]
    apart = pooled_difference(before, after)
    together = pooled_difference(before, after, paired_runs=True)
    assert together.value == apart.value == pytest.approx(0.1)
    assert apart.low < -0.1 and apart.high > 0.3
    assert 0.05 < together.low < together.high < 0.15
    with pytest.raises(ValueError, match="must be as many, not 3 and 2"):
        pooled_difference(before, after[:2], paired_runs=True)
