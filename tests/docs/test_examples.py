"""The plugin that runs the examples of the pages sees what is wrong with one. In the environment of `make docs` only."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sybil", reason="sybil is not installed (make docs)")
pytest_plugins = ["pytester"]


def fenced(first_line: str, body: str) -> str:
    return f"```{first_line}\n{body}\n```\n\n"


PRINTS = fenced("python", "print('took 1.25 s')")


def run(pytester: pytest.Pytester, text: str, **env: str) -> tuple[dict[str, int], Path]:
    """How the examples of a page end, and the page."""
    page = pytester.makefile(".md", page=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADRACE_DOCS", raising=False)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        result = pytester.runpytest_subprocess("-p", "tests.docs.examples", str(page))
    return result.parseoutcomes(), page


@pytest.mark.parametrize(
    "text",
    [
        PRINTS + fenced('text title="Output"', "took 7.5 s"),
        fenced("python", "1 / 0") + fenced('text title="Error"', "ZeroDivisionError: division by zero"),
        fenced('text title="in.txt"', "one") + fenced("console", "$ cat in.txt; echo two\none\ntwo"),
        fenced("python", "import asyncio\nawait asyncio.sleep(0)\nprint('awaited')")
        + fenced('text title="Output"', "awaited"),
        fenced("text", "anything") + PRINTS,
    ],
)
def test_an_example_that_does_as_it_says_passes(pytester: pytest.Pytester, text: str) -> None:
    outcomes, _ = run(pytester, text)
    assert set(outcomes) == {"passed"}


@pytest.mark.parametrize(
    "text",
    [
        PRINTS + fenced('text title="Output"', "takes 7.5 s"),
        fenced("python", "1 / 0"),
        fenced("python", "1 / 0") + fenced('text title="Error"', "ZeroDivisionError: other words"),
        fenced("python", "pass") + fenced('text title="Error"', "ZeroDivisionError: division by zero"),
        fenced("console", "$ echo one\ntwo"),
        fenced("console", "$ false"),
        fenced("toml", "a = 1"),
        "~~~\n" + fenced("python", "pass") + "```python\nnever closed",
    ],
)
def test_an_example_that_does_not_fails(pytester: pytest.Pytester, text: str) -> None:
    outcomes, _ = run(pytester, text)
    assert outcomes.keys() & {"failed", "error", "errors"}


def test_what_was_printed_is_written_into_the_page_when_it_is_accepted(pytester: pytest.Pytester) -> None:
    text = PRINTS + fenced('text title="Output"', "takes 7.5 s") + "The end.\n"
    outcomes, page = run(pytester, text, HEADRACE_DOCS="accept")
    assert set(outcomes) == {"passed"}
    assert page.read_text() == text.replace("takes 7.5 s", "took 1.25 s").rstrip("\n")
