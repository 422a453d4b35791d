from hypothesis import given
from hypothesis import strategies as st

from instantft_ros.adaptation.budget import Budget, BudgetPolicy

NAN = float('nan')


def test_without_limits_everything_is_allowed():
    budget = Budget()
    for second in range(1000):
        budget.spent(1e6, 1e6, float(second))
    assert budget.why_not(BudgetPolicy(), 1000.0) == ''


def test_each_limit_is_named():
    budget = Budget()
    budget.spent(2000.0, 5.0, 0.0)
    budget.spent(1000.0, NAN, 1.0)
    assert '2 trainings' in budget.why_not(BudgetPolicy(trainings_per_hour=2), 2.0)
    assert '3 seconds' in budget.why_not(BudgetPolicy(seconds_per_hour=3.0), 2.0)
    assert '5 joules' in budget.why_not(BudgetPolicy(joules_per_hour=5.0), 2.0)
    assert budget.why_not(BudgetPolicy(3, 3.1, 5.1), 2.0) == ''


@given(st.lists(st.floats(0, 20_000), max_size=60).map(sorted), st.integers(1, 10))
def test_never_more_in_any_hour(times_s, limit):
    budget, started = Budget(), []
    for now_s in times_s:
        if not budget.why_not(BudgetPolicy(trainings_per_hour=limit), now_s):
            budget.spent(10.0, NAN, now_s)
            started.append(now_s)
    for first in started:
        assert sum(first <= each < first + 3600 for each in started) <= limit
