"""`make bench-policy`: what a decision costs, in process, by the number of statements. No server, no peer.

Each a JSON line; `value` in microseconds, the least of several rounds: `decide_10`, `decide_1000`, `decide_10000`:
compiled policies, each statement with a condition that has to be read.
"""

import json
import time
from collections.abc import Callable

from keystead.iam.policy.compile import PolicySet, PolicySource, compile_policies
from keystead.iam.policy.question import Question

ROUNDS, EACH = 7, 20_000


class _Names:
    tenancy = "root"

    def group(self, name: str) -> str | None:
        return name.lower()

    def dynamic_group(self, name: str) -> str | None:
        return name.lower()

    def compartment(self, base: str, names: tuple[str, ...]) -> str | None:
        return names[-1].lower()


def policies(statements: int, extra: tuple[str, ...] = ()) -> PolicySet:
    """`statements` about one group each with a key of its own, in one compartment."""
    made = [
        f"Allow group g{n % 50} to use keys in compartment c where target.key.id = 'k{n}'" for n in range(statements)
    ]
    return compile_policies([PolicySource("p", "root", (*made, *extra))], _Names())


def question(statements: int) -> Question:
    """About the last of them."""
    known = {"target.key.id": f"k{statements - 1}", "request.principal.type": "user"}
    groups = frozenset({f"g{(statements - 1) % 50}", "gx", "gy"})
    return Question("u", "user", "joe", groups, "KEY_DECRYPT", ("root", "b", "c"), known.get)


def least(run: Callable[[], object]) -> float:
    """Microseconds of one call, in the quickest of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(EACH):
            run()
        best = min(best, time.perf_counter() - began)
    return best / EACH * 1e6


def main() -> None:
    """Measure and print."""
    for statements in (10, 1000, 10_000):
        compiled, asked = policies(statements), question(statements)
        assert compiled.decide(asked).allowed
        _emit(f"decide_{statements}", least(lambda: compiled.decide(asked)))  # noqa: B023


def _emit(name: str, value: float) -> None:
    print(json.dumps({"name": name, "value": round(value, 3), "unit": "us"}), flush=True)


if __name__ == "__main__":
    main()
