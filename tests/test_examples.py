"""Every script in examples/ runs, in its short form, and prints what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(directory, script, *flags, prelude="import runpy, sys"):
    """Run a script after the code `prelude`, in `directory`, with warnings as errors."""
    code = f"{prelude}; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, EXAMPLES / script, *flags],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def output(directory, script):
    """Return the lines that the short form of a script prints."""
    done = run(directory, script, "--short")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def numbers(text):
    """Return all the numbers in a text."""
    return np.array(re.findall(r"-?\d+\.\d+", text), float)


def test_digits(tmp_path):
    *_, saved, train, test = output(tmp_path, "digits.py")
    assert saved == "saved digits.png"
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert re.fullmatch(r"train accuracy: \d+\.\d%", train)
    assert re.fullmatch(r"test accuracy: \d+\.\d%", test)
    assert numbers(test) > 90


@pytest.mark.parametrize("module", ["matplotlib", "tqdm"])
def test_digits_says_which_extra_is_missing(tmp_path, module):
    done = run(tmp_path, "digits.py", prelude=f"import runpy, sys; sys.modules[{module!r}] = None")
    assert done.returncode == 1
    assert re.match(rf"{module}\S* is missing", done.stderr)
    assert "pip install '.[examples]'" in done.stderr
    assert not done.stdout


def test_linear_regression(tmp_path):
    *_, found, truth = output(tmp_path, "linear_regression.py")
    assert found.startswith("found")
    np.testing.assert_allclose(numbers(found), numbers(truth), atol=0.02)


def test_feed_forward(tmp_path):
    *_, p00, p01, p10, p11, accuracy = output(tmp_path, "feed_forward.py")
    table = [numbers(line)[-1] for line in (p00, p01, p10, p11)]
    np.testing.assert_allclose(table, [0, 1, 1, 0], atol=0.05)
    assert numbers(accuracy) > 98


def test_second_order(tmp_path):
    sin, *_, newton, descent = output(tmp_path, "second_order.py")
    second_derivative, by_hand = numbers(sin)
    assert second_derivative == by_hand
    np.testing.assert_array_equal(numbers(newton), [1, 1])
    assert int(re.search(r"in (\d+) steps", newton)[1]) < 10
    assert int(re.search(r"in (\d+) steps", descent)[1]) == 1000


def test_hyper_parameter(tmp_path):
    *_, newton, best = output(tmp_path, "hyper_parameter.py")
    (penalty, error), (near, more) = numbers(newton), numbers(best)
    assert 0 <= more - error < 1e-5
    assert abs(penalty - near) < 0.2 * penalty


def test_pendulum(tmp_path):
    saved, *rows = output(tmp_path, "pendulum.py")
    assert re.fullmatch(r"saved pendulum.png after \d+ steps", saved)
    assert (tmp_path / "pendulum.png").read_bytes().startswith(b"\x89PNG")
    guess, found, truth = np.array([numbers(row) for row in rows]).T
    np.testing.assert_allclose(found, truth, atol=0.15)
    assert np.all(np.abs(guess - truth) > 0.25)


def test_pendulum_says_which_extra_is_missing(tmp_path):
    prelude = "import runpy, sys; sys.modules['matplotlib'] = None"
    done = run(tmp_path, "pendulum.py", prelude=prelude)
    assert done.returncode == 1
    assert re.match(r"matplotlib\S* is missing", done.stderr)


def test_rnn(tmp_path):
    lines = output(tmp_path, "rnn.py")
    losses = [numbers(line)[-1] for line in lines if "cross-entropy" in line]
    assert losses[-1] < 0.8 * losses[0]
    assert len("\n".join(lines[len(losses) :])) == 201


def test_every_example_has_a_test():
    assert {script.stem for script in EXAMPLES.glob("*.py")} == {
        "digits",
        "feed_forward",
        "hyper_parameter",
        "linear_regression",
        "pendulum",
        "rnn",
        "second_order",
    }
