"""The page of all primitives is what the domain table says today."""

from __future__ import annotations

import pytest

from tests import primitives_page
from tests.support_page import versions


def test_the_page_is_current():
    committed = primitives_page.PATH.read_text(encoding="utf-8")
    if versions() not in committed:
        pytest.skip(f"the page was made with other versions than {versions()}")
    assert committed == primitives_page.text(), "run: python -m tests.primitives_page"


def test_kinds_of_dtypes_are_told_by_their_sizes():
    names = ("bool", "int8", "int64", "float32", "float64", "complex128")
    assert primitives_page.dtypes(names) == "bool, int8 64, float32 64, complex128"
