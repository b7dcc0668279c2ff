"""Money: integers of minor units with their ISO 4217 currency, and the one way in which they are rounded and divided.

A share of an amount is rounded half away from zero, on the exact fraction, once. That is what invoices and tax offices expect
(EN 16931 rounds half up), and it treats what is charged and what is given back alike: the share of -x is minus the share of x.
Half to even would be without bias over many sums, but two equal halves of one invoice could then round differently.
"""

from collections.abc import Sequence
from decimal import Decimal

WHOLE_BASIS_POINTS = 10_000
MAX_TOTAL_MINOR = 2**53 - 1
"""What every JSON reader can still hold exactly; a basket that costs more is refused."""

# Active codes of ISO 4217, list one, as of 2026, without funds, metals and test codes, by the number of their decimals.
# fmt: off
_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
       "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
       "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
       "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN "
       "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
# fmt: on
EXPONENTS = {code: exponent for exponent, codes in _CODES.items() for code in codes.split()}
"""Of each currency, how many decimals its minor unit has: 2 for EUR, 0 for JPY, 3 for KWD."""


def share(amount_minor: int, basis_points: int) -> int:
    """So many hundredths of a per cent of an amount, rounded half away from zero."""
    return proportion(amount_minor, basis_points, WHOLE_BASIS_POINTS)


def proportion(amount_minor: int, part: int, whole: int) -> int:
    """amount · part / whole with whole > 0, exactly, then rounded half away from zero."""
    product = amount_minor * part
    magnitude = (2 * abs(product) + whole) // (2 * whole)
    return magnitude if product >= 0 else -magnitude


def split(total_minor: int, weights: Sequence[int]) -> tuple[int, ...]:
    """An amount in parts by weight that sum to it exactly: each is off its exact part by less than one unit.

    Largest remainder: every part is first rounded toward zero; what is left goes, unit by unit, to the parts that lost most, of
    equal ones the first. No weight is negative; without any weight the first part takes it all.
    """
    whole = sum(weights)
    if whole == 0:
        return (total_minor, *(0 for _ in weights[1:]))
    sign = -1 if total_minor < 0 else 1
    quotients = [divmod(abs(total_minor) * weight, whole) for weight in weights]
    parts = [quotient for quotient, _ in quotients]
    by_loss = sorted(range(len(parts)), key=lambda index: -quotients[index][1])
    for index in by_loss[: abs(total_minor) - sum(parts)]:
        parts[index] += 1
    return tuple([sign * part for part in parts])


def text(amount_minor: int, currency: str) -> str:
    """An amount as people read it in any language: "1234.50 EUR", "-500 JPY"."""
    return f"{Decimal(amount_minor).scaleb(-EXPONENTS[currency]):f} {currency}"
