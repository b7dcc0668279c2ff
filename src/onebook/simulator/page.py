"""The challenge: a page with two buttons, where the payer passes it or fails it."""

from html import escape

from onebook.simulator.documents import Payment

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui;max-width:26rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.6rem 1.2rem;margin-right:.6rem}}</style>
<h1>{title}</h1>
{content}
</html>
"""
_BUTTONS = """<p>{description}<br><strong>{amount_minor} {currency}</strong> in minor units. No money moves here.</p>
<form method="post"><button name="outcome" value="pass">Pass</button><button name="outcome" value="fail">Fail</button></form>"""


def challenge_page(payment: Payment) -> str:
    """Asks the payer."""
    content = _BUTTONS.format(
        description=escape(payment.description), amount_minor=payment.amount_minor, currency=payment.currency
    )
    return _PAGE.format(title="Is it you who pays?", content=content)


def answered_page(payment: Payment) -> str:
    """Says what has come of it."""
    return _PAGE.format(title="Thank you", content=f"<p>The payment is {payment.state}. You may close this page.</p>")
