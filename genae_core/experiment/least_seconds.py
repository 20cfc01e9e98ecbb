"""Which of several ways to do a step is the fastest, on a machine that does other work as well.

Other work only ever adds to the time of a step. So the least time of a way is near its time on an
idle machine, whereas a mean or a median is also of the machine's load.
"""

import heapq
import math
import time
from collections.abc import Callable, Sequence

# A way is only left for a less plain one if it takes more than this many times the seconds of the
# fastest way, because what is hardly faster is not worth a difference.
CLEARLY_SLOWER = 1.1
# A measurement ends when the choice has stayed the same for so many rounds and seconds, and each
# way has come near its least time so often: within this part of what would change the choice, or
# within this fraction of its seconds.
HELD_ROUNDS, HELD_S = 6, 0.5
REPEATS, NEAR, NEAREST = 5, 0.25, 0.02
# It ends in any case after so many rounds, or after so many seconds and at least a few rounds.
MOST_ROUNDS, MOST_S, FEWEST_ROUNDS = 2000, 10.0, 3


def choose_plainest(seconds: Sequence[float]) -> int:
    """The number of the first way that is not clearly slower than the fastest one.

    Args:
        seconds: The seconds of each way, infinite for one that fails, the plainest way first.
    """
    return next(way for way, one in enumerate(seconds) if one <= CLEARLY_SLOWER * min(seconds))


def least_seconds(
    steps: Sequence[Callable[[], object]],
    counts: Sequence[int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Time steps in turns until it is sure which way is chosen (see the constants above).

    Args:
        steps: A function for each way, which makes a step, the plainest way first.
        counts: How many such steps the work of each way takes; None is one each.
        clock: Returns the present time in seconds.

    Returns:
        The least seconds of the work in each way.
    """
    counts = counts or [1] * len(steps)
    least: list[list[float]] = [[] for _ in steps]  # the least times of each way, sorted
    chosen, chosen_in = -1, 0
    start = chosen_at = clock()
    for number in range(1, MOST_ROUNDS + 1):
        # The order is turned round each time, so that no way always follows the same one.
        for way in range(len(steps))[:: 1 if number % 2 else -1]:
            before = clock()
            steps[way]()
            least[way] = heapq.nsmallest(REPEATS, [*least[way], counts[way] * (clock() - before)])
        now = clock()
        choice = choose_plainest([times[0] for times in least])
        if choice != chosen:
            chosen, chosen_in, chosen_at = choice, number, now
        has_held = number - chosen_in >= HELD_ROUNDS and now - chosen_at >= HELD_S
        too_long = now - start >= MOST_S and number >= FEWEST_ROUNDS
        if too_long or (has_held and _are_repeated(least, choice)):
            break
    return [times[0] for times in least]


def _are_repeated(least: Sequence[Sequence[float]], choice: int) -> bool:
    """Whether the sorted least times of each way are near enough to each other to be no accident.

    A way before the chosen one must stay clearly slower than the fastest, and none after it may
    become clearly faster than it.
    """
    seconds = [times[0] for times in least]
    margins = [math.log(one / (CLEARLY_SLOWER * min(seconds))) for one in seconds[:choice]]
    margins += [math.log(CLEARLY_SLOWER * one / seconds[choice]) for one in seconds[choice + 1 :]]
    near = max(NEAREST, NEAR * min(margins, default=0.0))
    return all(len(times) == REPEATS and times[-1] <= (1 + near) * times[0] for times in least)
