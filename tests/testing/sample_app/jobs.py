"""A small shop, as a user would write it: orders, mails, reports."""

from __future__ import annotations

from treadle import Attempt, Context, Depends, GiveUp, Jobs, Next, Outcome, Snooze, fixed

jobs = Jobs("memory://")


class Shop:
    """What the outside world saw."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.charges: dict[str, int] = {}
        self.open = True
        self.attempts: list[str] = []


shop = Shop()


def the_shop() -> Shop:
    return shop


@jobs.use
async def count(attempt: Attempt, call_next: Next) -> Outcome:
    shop.attempts.append(attempt.job.type)
    return await call_next(attempt)


@jobs.handler("mail.send", retry=fixed(60, retries=2), queue="mail")
async def send_mail(to: str, subject: str = "Welcome!", shop: Shop = Depends(the_shop)) -> str:
    shop.mails.append(to)
    return f"sent {subject!r} to {to}"


@jobs.handler("order.charge", unique=True)
async def charge(ctx: Context, order: str, cents: int, shop: Shop = Depends(the_shop)) -> int:
    shop.charges.setdefault(ctx.idempotency_key, cents)
    return cents


@jobs.handler("order.ship")
async def ship(order: str, shop: Shop = Depends(the_shop)) -> None:
    if not shop.open:
        raise Snooze(3600)
    await send_mail.enqueue(f"customer of {order}", "On its way")


@jobs.handler("report.build")
def build_report(day: int) -> dict[str, int]:
    return {"day": day, "mails": len(shop.mails)}


@jobs.handler("order.check", retry=0)
def check(order: str) -> None:
    if not order.isdigit():
        raise GiveUp(f"{order!r} is no order")


@jobs.handler("reminder", retry=1)
async def remind(ctx: Context, who: str) -> int:
    shop.mails.append(f"reminder {who}")
    return ctx.attempt
