"""README.md tells the truth: its examples print what it shows, its commands and links work.

Run as a script, this file rewrites the shown output.
"""

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SET_UP = [line for line in README.splitlines() if line.startswith("python3 -m venv")]


def blocks(language):
    """Return the texts of the code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rerun(text, names):
    """Run an interactive dialogue; return it with what it shows replaced by what it prints now."""
    now = []
    for part in doctest.DocTestParser().parse(text, "README.md"):
        if isinstance(part, str):
            now.append(part)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as shown:
                exec(compile(part.source, "README.md", "single"), names)
            code = part.source.rstrip("\n").replace("\n", "\n... ")
            now.append(f">>> {code}\n{shown.getvalue().rstrip()}".rstrip() + "\n")
    return "".join(now)


def rewritten():
    """Return the README with the output of its python blocks brought up to date."""
    # All the blocks together are one dialogue, in the order of reading.
    text, names = README, {"__name__": "README"}
    for block in blocks("python"):
        text = text.replace(block, rerun(block, names))
    return text


def test_python_blocks_print_what_is_shown():
    assert blocks("python")
    assert rewritten() == README, "python tests/test_docs.py brings README.md up to date"


def test_set_up_commands():
    """Two commands, each one line that stands alone in its block; what they name exists."""
    assert [block.removesuffix("\n") for block in blocks("bash")] == SET_UP
    digits, tests = map(shlex.split, SET_UP)
    assert digits[-1] == "examples/digits.py"
    assert (ROOT / digits[-1]).exists()
    assert tests[-3].endswith("pytest")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert tests[tests.index("--group") + 1] in project["dependency-groups"]
    for words in (digits, tests):
        extra = next(word for word in words if word.startswith(".["))
        assert extra.strip(".[]") in project["project"]["optional-dependencies"]


def test_ci_takes_the_commands_from_the_readme():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "bin/pytest" not in script
    function = re.search(r"^readme\(\) .*", script, re.MULTILINE)[0]
    for ending, command in zip(("digits.py", "'-n auto'"), SET_UP, strict=True):
        assert f"command=$(readme {ending})" in script
        shell = ["bash", "-c", f"root=$1; {function}; readme {ending}", "bash", ROOT]
        assert subprocess.check_output(shell, text=True) == command + "\n"


def test_links():
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


if __name__ == "__main__":
    (ROOT / "README.md").write_text(rewritten(), encoding="utf-8")
