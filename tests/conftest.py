"""Settings of the whole suite.

Hypothesis profiles, chosen with ``--hypothesis-profile=NAME`` or the environment variable
``HYPOTHESIS_PROFILE``:

* ``ci`` (the default): the same examples on every run and every machine, and no deadline;
* ``deep``: many fresh random examples, to be run on demand; 100,000 of them in ``tests/laws``.
"""

import os
from importlib import import_module

import pytest
from hypothesis import settings

from tests._versions import NEW_FUNCTIONS

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("deep", max_examples=2500, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Tests that call a function which an older NumPy does not have are skipped there."""
    try:
        return (yield)
    except AttributeError as error:
        if any(f"'numpy' has no attribute '{name}'" in str(error) for name in NEW_FUNCTIONS):
            pytest.skip(str(error))
        raise


@pytest.fixture(params=[None, 0], ids=["cold", "hot"])
def hotness(request, monkeypatch):
    """When calls of jitted functions are taken by generated code: as it is, or as soon as possible."""
    if request.param is not None:
        for module in ("_programs", "_environment"):
            monkeypatch.setattr(import_module(f"fungrad.transforms.{module}"), "HOT", request.param)
