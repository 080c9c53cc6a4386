from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.kube import quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        (8, 8),
        ("500m", Decimal("0.5")),
        ("80Gi", 80 * 2**30),
        ("1.5Gi", 3 * 2**29),
        (".5", Decimal("0.5")),
        ("5.", 5),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12E-3", Decimal("0.012")),
        ("2k", 2000),
        ("-1Ki", -1024),
        ("100n", Decimal("0.0000001")),
    ],
)
def test_a_quantity_is_the_number_it_stands_for(text, expected):
    """Every suffix and exponent of the Kubernetes grammar is read."""
    assert expected == quantity.parse(text)


@pytest.mark.parametrize(
    "text", ["", "Gi", "1gi", "1 Gi", "NaN", "Infinity", "1_000", "0x10", "1ki", "1Gi\n", "\u0661", True]
)
def test_what_is_no_quantity_is_refused_with_a_reason(text):
    """The package's laxer number forms do not get through, and the message shows what was found."""
    with pytest.raises(ValueError, match="quantity: must be a number with an optional unit") as refused:
        quantity.parse(text)
    assert repr(text) in str(refused.value)


@given(st.integers(min_value=0, max_value=2**70))
def test_a_byte_count_survives_its_shortest_form(count):
    """format_bytes is exact for every count."""
    assert count == quantity.to_bytes(quantity.format_bytes(count))


@pytest.mark.parametrize(("count", "expected"), [(80 * 2**30, "80Gi"), (1000, "1000"), (0, "0"), (3 * 2**20, "3Mi")])
def test_a_byte_count_is_written_in_the_largest_unit_that_divides_it(count, expected):
    """80 GiB is 80Gi, not 81920Mi."""
    assert expected == quantity.format_bytes(count)


def test_a_fraction_of_a_byte_is_rounded_up():
    """As Kubernetes does with quantities that are asked for as whole numbers."""
    assert quantity.to_bytes("1500m") == 2


def test_reading_a_quantity_does_not_import_the_kubernetes_client():
    """The package's quantity module is used without the 700 models that its __init__ imports."""
    program = (
        "import sys; from kaito_controller.kube import quantity; quantity.parse('1Gi');"
        " print(sorted(name for name in sys.modules if name.split('.')[0] == 'kubernetes'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
