"""Whatever befalls a config, a reader gives a reading, a user's error, or does not know it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetplan.check.judge import judge
from budgetplan.configs.document import parse
from budgetplan.configs.reader import Told, read, recognize
from budgetplan.core.errors import UserError

FILES = sorted((Path(__file__).parent / "files").iterdir())
ODD = (
    "0", "-1", "1e400", "1e-400", "nan", ".inf", "true", "null", "[]", "{}", '""', "'x'", "$X",
    "${a.b}", "99999999999999999999", "1.5", "0x10", "1_0", "[1, 2]", "{a: 1}", "!include x", "é",
    "2**9999", "- -", "\\",
)  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """Draw a text with a few of its words replaced, its lines dropped, doubled or swapped."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["value", "drop", "double", "character", "indent"]))
        if kind == "value":
            for sign in (": ", "= ", "=", " "):
                head, found, _ = lines[place].rpartition(sign)
                if found:
                    lines[place] = head + found + draw(st.sampled_from(ODD))
                    break
        elif kind == "drop" and len(lines) > 1:
            del lines[place]
        elif kind == "double":
            lines.insert(place, lines[place])
        elif kind == "character":
            where = draw(st.integers(0, len(lines[place])))
            lines[place] = lines[place][:where] + draw(st.characters()) + lines[place][where:]
        else:
            lines[place] = "  " + lines[place]
    return "\n".join(lines)


def survives(text: str, path: Path, *, ranks: int | None) -> None:
    try:
        document = parse(text, path=path)
        if recognize(document) is None:
            return
        verdict = judge(read(document, told=Told(ranks=ranks, vocab=50257)))
    except UserError as error:
        assert str(error)
        return
    for finding in verdict.findings:
        assert finding.place.line >= 1
        assert finding.message


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(data=st.data())
def test_no_mutation_of_a_config_is_a_traceback(path: Path, data: st.DataObject) -> None:
    text = data.draw(mutations(path.read_text()))
    survives(text, path, ranks=data.draw(st.sampled_from([None, 1, 8, 63])))


def test_a_learning_rate_whose_product_overflows_is_a_finding() -> None:
    path = next(each for each in FILES if each.name == "plan.yaml")
    text = re.sub(r"( learning_rate:) [\d.e-]+", r"\1 1.0e+308", path.read_text(), count=1)
    found = read(parse(text, path=path))
    assert found.run.learning_rate == 1e308
    assert "BP302" in {each.code for each in judge(found).findings}
