"""One generated program on several brokers: what can be observed must be the same.

Programs are drawn as for one broker; how two brokers are compared stands in `program.comparison`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from treadle.conformance.campaign import PROFILES, STEPS, Outcome, Progress, Search
from treadle.conformance.program import Divergence, compare_program
from treadle.conformance.program.ops import Op
from treadle.conformance.program.trial import RESTART_LIMIT_S, STEP_LIMIT_S, Show
from treadle.conformance.subject import Subject
from treadle.conformance.watch import Work

__all__ = ["Divergence", "compare", "compare_program"]


def compare(
    subjects: Sequence[Subject],
    examples: int = PROFILES["dev"],
    seed: int = 0,
    *,
    backend: str = "asyncio",
    progress: Callable[[Progress], object] | None = None,
    resume: Path | None = None,
    save_in: Path | None = None,
    shrink: bool = True,
    steps: int = STEPS,
    step_limit_s: float = STEP_LIMIT_S,
) -> Outcome:
    """Run generated programs on all subjects until two of them differ, or all examples have passed.

    The parameters are those of `campaign.run`.
    """

    def attempt(program: tuple[Op, ...], show: Show) -> Work:
        async def work() -> None:
            await compare_program(subjects, program, step_limit_s, show)

        return work

    what = ", ".join(map(str, subjects))
    search = Search(attempt, what, backend=backend, step_limit_s=step_limit_s)
    search.progress, search.save_in, search.steps = progress, save_in, steps
    if any(subject.restart is not None for subject in subjects):
        search.silence_s += RESTART_LIMIT_S
    return search.run(examples, seed, resume=resume, shrink=shrink)
