"""The owners of an expense's states; and the same machine as expense.yaml, in Python."""

from typing import Any

import movant

accounts = movant.Service("accounts")
boss = movant.Service("boss")
bank = movant.Service("bank")

ALLOWED = 500


@accounts.operation()
def check(motion: Any) -> dict[str, Any]:
    """Refuse what is incomplete: it goes back, or halts where nothing came before."""
    if not motion["input"].get("receipt"):
        raise movant.Refused("validation", "there is no receipt")
    return {"amount": motion["input"]["amount"]}


@boss.operation()
def approve(motion: Any) -> dict[str, Any]:
    """Decide by what the state before has found."""
    return {"approved": motion["data"]["SUBMITTED"]["amount"] <= ALLOWED}


@bank.operation()
def pay(motion: Any, call: movant.Call) -> str:
    """Pay once: whoever asks again with the same key means the same payment."""
    return f"paid {motion['data']['SUBMITTED']['amount']}, key {call.key}"


expense = movant.Machine(
    name="expense",
    initial="SUBMITTED",
    reviewer="boss",
    states={
        "SUBMITTED": movant.State(owner="accounts", operation="check", next="APPROVAL"),
        "APPROVAL": movant.State(
            owner="boss",
            operation="approve",
            timeout="3d",
            next=(movant.Next(to="PAYMENT", when="result.approved"), "REJECTED"),
            signals={"withdraw": "WITHDRAWN"},
            on_error={"timeout": movant.Directive(do="retry", then="halt_and_alert")},
        ),
        "PAYMENT": movant.State(
            owner="bank",
            operation="pay",
            next="PAID",
            on_error={
                "network": movant.Directive(
                    do="retry",
                    then=movant.Directive(do="fallback", services=("other-bank",)),
                )
            },
        ),
        "PAID": movant.State(terminal=True),
        "REJECTED": movant.State(terminal=True),
        "WITHDRAWN": movant.State(terminal=True),
    },
)
