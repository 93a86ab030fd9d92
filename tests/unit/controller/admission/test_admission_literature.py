"""Admission against the literature on non-preemptive EDF.

A sporadic task of cost C and period T is here a demand with a burst of C and a rate of C / T. Such a bucket may send
more than the task: C (1 + t / T) within t, where the task sends C (1 + floor(t / T)). What is admitted is therefore
schedulable for tasks too; the converse holds only where the deadlines that matter are whole periods apart. Each case
says which numbers are published; the others are ours, worked out by hand from the published condition, which is given
here in our words. Time counts in ms, and costs in ms of the link. The papers' integer time, in which a task that blocks
has begun one unit before, becomes continuous time: it has begun just before.

JSM: Jeffay, Stanat, Martel, "On non-preemptive scheduling of periodic and sporadic tasks", RTSS 1991, pp. 129-139. With
deadlines at the ends of the periods, tasks in the order of their periods are schedulable if and only if
(1) C1 / T1 + ... + Cn / Tn <= 1, and (2) for each i > 1 and each L between T1 and Ti:
Ci + the sum over j < i of floor(L / Tj) Cj <= L.

GRS: George, Rivierre, Spuri, "Preemptive and non-preemptive real-time uniprocessor scheduling", INRIA RR-2966, 1996.
The same with deadlines D of any length: at each t the costs of what must be done by t, and the largest cost of a task
with a later deadline, fit into t.

ZS: Zheng, Shin, "On the ability of establishing real-time channels in point-to-point packet-switched networks", IEEE
Trans. Communications 42(2/3/4), 1994. The same with the largest packet of the whole link in the place of the blocking
task: here it is best effort's.

LWF: Liebeherr, Wrege, Ferrari, "Exact admission control for networks with a bounded delay service", IEEE/ACM Trans.
Networking 4(6), 1996, pp. 885-901. The same for any subadditive arrivals, so also for buckets: for those it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.admission.condition import Demand, EdfLink, first, is_admitted, shortage
from controller.units import NS_PER_MS

NO_BEST_EFFORT = EdfLink("the link", 10**9, be_slack_ns=5000 * NS_PER_MS, be_frame_bytes=0)
BYTES_PER_MS = 125_000
T3 = replace(NO_BEST_EFFORT, rate_bps=45_000_000)
T3_BYTES_PER_MS = 5625
PROBED = 0
"""The deadline of a demand whose smallest deadline a case is about."""


def task(cost: int, period: int, deadline: int, name: str = "task") -> Demand:
    """A sporadic task that is one frame, in ms of NO_BEST_EFFORT. Its rate is rounded up."""
    size = cost * BYTES_PER_MS
    return Demand(name, deadline * NS_PER_MS, -(-cost * NO_BEST_EFFORT.rate_bps // period), size, size)


def bucket(burst_bytes: int, rate_bps: int, deadline: int, frame_bytes: int = 1125) -> Demand:
    return Demand("bucket", deadline * NS_PER_MS, rate_bps, burst_bytes, frame_bytes)


@dataclass(frozen=True)
class Case:
    """`smallest_ns` is the smallest deadline with which all demands with the deadline PROBED are admitted."""

    name: str
    smallest_ns: int
    demands: tuple[Demand, ...]
    link: EdfLink = NO_BEST_EFFORT

    def __str__(self) -> str:
        return self.name

    def with_deadline(self, deadline_ns: int) -> list[Demand]:
        return [demand if demand.deadline_ns else replace(demand, deadline_ns=deadline_ns) for demand in self.demands]


T3_FLOWS = (
    *[bucket(2250, 2_250_000, 6)] * 10,
    *[bucket(7875, 2_250_000, PROBED)] * 4,
)
"""Ours. Ten flows of 0.4 ms and 5% of the link within 6 ms; four of 1.4 ms and 5%."""

CASES = [
    # Published: Symmetry 12(1), 2020, article 172, example 1: tasks (C, T) of (24, 102) and (17, 33) with D = T;
    # non-preemptive EDF lets the second be late when it is released at 6: 24 + 17 = 41 > 39 = 6 + 33.
    # Released just after 0 it needs 41. That is GRS at t = 41; at t = 102: 17 (1 + 61/33) + 24 = 72.4 <= 102.
    Case("Symmetry 12(1) example 1", 41 * NS_PER_MS, (task(17, 33, PROBED), task(24, 102, 102))),
    # JSM, numbers ours. Two tasks with D = T: (2) is C1 + C2 <= T1, here 2 + 3 = 5 with T1 = 5.
    # At t = 9: 2 (1 + 4/5) + 3 = 6.6 <= 9.
    Case("JSM two tasks", 5 * NS_PER_MS, (task(2, 5, PROBED), task(3, 9, 9))),
    # JSM. Published as an exercise on JSM's theorem (see the refused set below), with 4.5 in the place of 3: the
    # largest cost with which it passes is 4 - 1 = 3, by (2) at L = 4. At t = 6: 1 (1 + 2/4) + 1 + 3 = 5.5 <= 6;
    # at t = 10: 1 (1 + 6/4) + 1 (1 + 4/6) + 3 = 7.2 <= 10.
    Case("JSM exercise, shortened", 4 * NS_PER_MS, (task(1, 4, PROBED), task(1, 6, 6), task(3, 10, 10))),
    # GRS, numbers ours. One common deadline: nobody blocks, 2 + 3 + 4 = 9. The same for tasks and buckets.
    Case("GRS one deadline", 9 * NS_PER_MS, (task(2, 20, PROBED), task(3, 20, PROBED), task(4, 20, PROBED))),
    # GRS, numbers ours. The largest later task blocks, not the next: 1 + 5 = 6.
    # At t = 9: 1 (1 + 3/10) + 2 + 5 = 8.3 <= 9; at t = 20: 1 (1 + 14/10) + 2 (1 + 11/12) + 5 = 11.2 <= 20.
    Case("GRS the largest blocks", 6 * NS_PER_MS, (task(1, 10, PROBED), task(2, 12, 9), task(5, 20, 20))),
    # GRS, numbers ours. The latest deadline waits for all others and for nobody later: 2 + 3 = 5. A smaller one is the
    # earliest, and blocked by 2: 3 + 2 = 5 again.
    Case("GRS the last", 5 * NS_PER_MS, (task(2, 10, 5), task(3, 10, PROBED))),
    # ZS, numbers ours. The packet of 2 blocks even those who share the latest deadline: 1 + 1 + 1 + 2 = 5.
    Case(
        "ZS one deadline",
        5 * NS_PER_MS,
        (task(1, 10, PROBED),) * 3,
        replace(NO_BEST_EFFORT, be_frame_bytes=2 * BYTES_PER_MS),
    ),
    # ZS, numbers ours, and not the same for tasks and buckets. At 15: 5 + 10 = 15. For tasks the second then needs
    # 5 + 8 + 10 = 23; for buckets d with 5 (1 + (d - 15) / 25) + 8 + 10 = d, that is 0.8 d = 20, d = 25.
    Case(
        "ZS two channels",
        25 * NS_PER_MS,
        (task(5, 25, 15), task(8, 100, PROBED)),
        replace(NO_BEST_EFFORT, be_frame_bytes=10 * BYTES_PER_MS),
    ),
    # LWF, numbers ours; the link of 45 Mb/s is that of its time. Without anybody later:
    # 10 * 0.4 + 0.5 (d - 6) + 4 * 1.4 = d, that is 0.5 d = 6.6, d = 13.2. At t = 6: 4 + 0.2 <= 6.
    Case("LWF at 45 Mb/s", 13_200_000, T3_FLOWS, T3),
    # The same beside a flow within 50 ms, whose frames of 0.4 ms block: 0.5 d = 6.6 + 0.4, d = 14. It has 5 ms and 10%;
    # at t = 50: 4 + 0.5 * 44 + 5.6 + 0.2 * 36 + 5 = 43.8 <= 50.
    Case("LWF at 45 Mb/s, blocked", 14_000_000, (*T3_FLOWS, bucket(28_125, 4_500_000, 50, 2250)), T3),
]


def smallest_deadline_ns(link: EdfLink, demands: list[Demand], name: str) -> int | None:
    """With which the demand `name` is admitted beside the others."""

    def passes(deadline_ns: int) -> bool:
        return is_admitted(
            link, [replace(each, deadline_ns=deadline_ns) if each.name == name else each for each in demands]
        )

    return first(range(1, 5000 * NS_PER_MS), passes)


def test_the_links_units() -> None:
    assert NO_BEST_EFFORT.rate_bps * NS_PER_MS == BYTES_PER_MS * 8 * 10**9
    assert T3.rate_bps * NS_PER_MS == T3_BYTES_PER_MS * 8 * 10**9
    assert [T3_BYTES_PER_MS * tenths // 10 for tenths in (4, 14, 50)] == [2250, 7875, 28_125]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_smallest_deadline_is_the_papers(case: Case) -> None:
    assert is_admitted(case.link, case.with_deadline(case.smallest_ns))
    assert not is_admitted(case.link, case.with_deadline(case.smallest_ns - 1))


def test_the_smallest_deadline_is_found() -> None:
    """With the case of the Symmetry article."""
    late, other = task(17, 33, 33, "late"), task(24, 102, 102, "other")
    assert not is_admitted(NO_BEST_EFFORT, [late, other]), "as published"
    assert smallest_deadline_ns(NO_BEST_EFFORT, [late, other], "late") == 41 * NS_PER_MS


def test_the_exercise_on_jsm_is_refused() -> None:
    """Published as an exercise: (T, C) of A (6, 1), B (4, 1), C (10, 4.5). By hand: (2) fails at L = 4, as 4.5 + 1 > 4.

    Later deadlines for B: tasks would need 6.5 = 1 + 1 + 4.5; buckets d with 1 (1 + (d - 6) / 6) + 1 + 4.5 = d: 6.6.
    """
    size = 9 * BYTES_PER_MS // 2
    long = Demand("C", 10 * NS_PER_MS, 450_000_000, size, size)
    demands = [task(1, 6, 6, "A"), task(1, 4, 4, "B"), long]
    found = shortage(NO_BEST_EFFORT, demands)
    assert found is not None
    assert found.t_ns is not None
    assert not is_admitted(NO_BEST_EFFORT, [replace(each, deadline_ns=6 * NS_PER_MS) for each in demands[:2]] + [long])
    smallest_ns = smallest_deadline_ns(NO_BEST_EFFORT, demands, "B")
    assert smallest_ns is not None
    assert 6_600_000 <= smallest_ns <= 6_600_001, "the rate of A, a sixth, is rounded up"


def test_one_byte_more_than_jsm_allows() -> None:
    """(2) for two tasks with D = T: C1 + C2 <= T1."""
    short, longest = task(2, 5, 5), task(3, 9, 9)
    assert is_admitted(NO_BEST_EFFORT, [short, longest])
    assert not is_admitted(NO_BEST_EFFORT, [short, replace(longest, frame_bytes=longest.frame_bytes + 1)])
    assert not is_admitted(NO_BEST_EFFORT, [replace(short, burst_bytes=short.burst_bytes + 1), longest])


def test_a_bucket_may_send_more_than_a_task() -> None:
    """Ours: (1, 2), (1, 3), (1, 7) satisfy JSM's conditions; buckets at t = 3 have 1 (1 + 1/2) + 1 + 1 = 3.5 > 3.

    With d for the second: 1 (1 + (d - 2) / 2) + 1 + 1 = d, d = 4; at t = 7: 3.5 + 1 (1 + 3/3) + 1 = 6.5 <= 7.
    """
    tasks = [(1, 2), (1, 3), (1, 7)]
    assert schedulable_by_jsm(tasks)
    demands = [task(cost, period, period, str(period)) for cost, period in tasks]
    assert not is_admitted(NO_BEST_EFFORT, demands)
    assert smallest_deadline_ns(NO_BEST_EFFORT, demands, "3") == 4 * NS_PER_MS


def test_a_link_without_any_rest_is_refused() -> None:
    """JSM's (1) allows a load of exactly 1; admission wants a rest, for the sake of what it does not know."""
    tasks = [(1, 2), (1, 2)]
    assert schedulable_by_jsm(tasks)
    assert not is_admitted(NO_BEST_EFFORT, [task(cost, period, period) for cost, period in tasks])


TASKS = st.integers(2, 50).flatmap(lambda period: st.tuples(st.integers(1, period), st.just(period)))


def load(tasks: Sequence[tuple[int, int]]) -> Fraction:
    return sum((Fraction(cost, period) for cost, period in tasks), Fraction())


def schedulable_by_jsm(tasks: Sequence[tuple[int, int]]) -> bool:
    """The theorem of JSM, by its words, for tasks (C, T). The sums change only where L is a multiple of a period."""
    ordered = sorted(tasks, key=lambda each: each[1])
    for index, (cost, period) in enumerate(ordered):
        earlier = ordered[:index]
        for length in sorted({k * each for _, each in earlier for k in range(1, period // each + 1)}):
            if length < period and cost + sum(length // t * c for c, t in earlier) > length:
                return False
    return load(tasks) <= 1


@given(st.lists(TASKS, min_size=2, max_size=2))
def test_for_two_tasks_jsm_and_admission_agree(tasks: list[tuple[int, int]]) -> None:
    """(2) is C1 + C2 <= T1, and implies the buckets' condition at T2: C1 T2 / T1 + C2 <= T2."""
    demands = [task(cost, period, period) for cost, period in tasks]
    assert is_admitted(NO_BEST_EFFORT, demands) == (schedulable_by_jsm(tasks) and load(tasks) < 1)


@given(st.lists(TASKS, min_size=1, max_size=6))
def test_what_is_admitted_is_schedulable_by_jsm(tasks: list[tuple[int, int]]) -> None:
    demands = [task(cost, period, period) for cost, period in tasks]
    assert not is_admitted(NO_BEST_EFFORT, demands) or schedulable_by_jsm(tasks)
