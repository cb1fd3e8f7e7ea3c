"""`python -m treadle.testing.sim`: a campaign of seeds, or one seed with its trace."""

from __future__ import annotations

import click

from treadle.testing.sim.campaign import backend_of, campaigns
from treadle.testing.sim.world import run


def _range(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        return range(int(first), int(last)) if colon else range(int(first))
    except ValueError:
        raise click.BadParameter(f"{text!r}: FIRST:LAST, or how many") from None


@click.command()
@click.option("--seeds", default="0:100", help="Run the seeds FIRST:LAST (the last is left out).")
@click.option("--seed", type=int, help="Run one seed and print its trace.")
@click.option("--processes", default=1, help="Run on so many processes.", show_default=True)
@click.option(
    "--backend",
    default="",
    type=click.Choice(["", "asyncio", "trio"]),
    help="Run on this loop; by default one seed in twenty runs on trio.",
)
@click.option("--stop-at", default=5, help="End when so many seeds broke a law.", show_default=True)
@click.option("--jobs", default=20, help="Jobs in each run.", show_default=True)
def main(
    seeds: str, seed: int | None, processes: int, backend: str, stop_at: int, jobs: int
) -> None:
    """Run the real worker on a simulated broker in virtual time, and judge what happens.

    The exit code is 1 if a law was broken.
    """
    if seed is not None:
        one = run(seed, backend=backend or backend_of(seed), jobs=jobs)
        click.echo(one.trace.text(), nl=False)
        for text in one.violations:
            click.echo(f"broken: {text}")
        raise SystemExit(bool(one.violations))
    total = campaigns(
        _range(seeds),
        processes=processes,
        backend=backend,
        jobs=jobs,
        tell=click.echo,
        stop_at=stop_at,
    )
    click.echo(str(total))
    raise SystemExit(bool(total.found))


if __name__ == "__main__":
    main()
