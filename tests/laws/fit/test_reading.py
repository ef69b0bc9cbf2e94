"""Tables of runs as people and trackers write them, and every way in which they can be wrong."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetplan.core.errors import BadValue, UserError
from budgetplan.laws.fit.columns import recognize
from budgetplan.laws.fit.measurements import Measurements
from budgetplan.laws.fit.numbers import comma_of, number
from budgetplan.laws.fit.reading import read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def runs(folder: Path, text: str, **options: object) -> Measurements:
    path = folder / str(options.pop("name", "runs.csv"))
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read([path], **options)  # type: ignore[arg-type]


def refused(folder: Path, text: str, match: str, **options: object) -> None:
    with pytest.raises(UserError, match=match) as raised:
        runs(folder, text, **options)
    assert len(str(raised.value).splitlines()) <= 3


PLAIN = "params,tokens,loss\n1e8,2e9,3.1\n2e8,4e9,2.9\n"


# --- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "field", "scale"),
    [
        ("params", "params", 1),
        ("Params (M)", "params", 1e6),
        ("N [B]", "params", 1e9),
        ("tokens_b", "tokens", 1e9),
        ("Tokens (T)", "tokens", 1e12),
        ("tokens (B tokens)", "tokens", 1e9),
        ("config.n_params", "params", 1),
        ("summary/val_loss", "loss", 1),
        ("eval/loss", "loss", 1),
        ("loss (bits/token)", "loss", math.log(2)),
        ("compute (PF-days)", "flops", 8.64e19),
        ("train FLOPs", "flops", 1),
        ("_step", "steps", 1),
        ("params_non_embedding", "params_non_embedding", 1),
    ],
)
def test_headers_are_known_with_their_units(header: str, field: str, scale: float) -> None:
    column = recognize(header)
    assert column is not None
    assert (column.field, column.scale) == (field, pytest.approx(scale))


@pytest.mark.parametrize("header", ["notes", "params (furlongs)", "gpu_hours", "", "loss (M)x"])
def test_other_headers_are_not_guessed(header: str) -> None:
    assert recognize(header) is None


# --- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "comma", "value"),
    [
        ("1.5e9", "unknown", 1.5e9),
        ("1_000_000", "unknown", 1e6),
        ("1 234 567", "unknown", 1234567),
        ("1\u202f234\u202f567", "unknown", 1234567),
        ("1'234'567.5", "unknown", 1234567.5),
        ("1,234,567", "thousands", 1234567),
        ("3,14", "decimal", 3.14),
        ("1.234.567,8", "decimal", 1234567.8),
        ("125M", "unknown", 125e6),
        ("1.4T", "unknown", 1.4e12),
        ("300 B tokens", "unknown", 300e9),
        ("2,5B", "decimal", 2.5e9),
        ("-5", "unknown", -5),
    ],
)
def test_cells_are_read_as_written(cell: str, comma: str, value: float) -> None:
    assert number(cell, comma=comma) == pytest.approx(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["", "-", "NaN", "n/a", "None", "<NA>"])
def test_what_is_missing_is_no_number(cell: str) -> None:
    assert math.isnan(number(cell))


@pytest.mark.parametrize("cell", ["many", "1e", "12,34,5", "1.2.3", "$5", "5 km", "1,23M"])
def test_what_is_no_number_is_refused(cell: str) -> None:
    with pytest.raises(BadValue, match="not a number"):
        number(cell)


def test_a_comma_that_could_be_either_is_refused() -> None:
    with pytest.raises(BadValue, match="thousands or a decimal comma"):
        number("1,234")
    assert comma_of(["1,234", "3,14159"], delimiter=";") == "decimal"
    assert comma_of(["1,234", "1,234,567"], delimiter=";") == "thousands"
    assert comma_of(["1,234"], delimiter=";") == "unknown"


@given(st.floats(1e-6, 1e15), st.sampled_from(["{:.10g}", "{:,.3f}", "{:e}"]))
def test_numbers_survive_being_written(value: float, form: str) -> None:
    written = form.format(value)
    assert number(written, comma="thousands") == pytest.approx(float(written.replace(",", "")))


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN,  # as spreadsheets write it
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "# made by hand\n\n" + PLAIN + "\n\n",
        "params;tokens;loss\n100.000.000;2.000.000.000;3,1\n200.000.000;4.000.000.000;2,9\n",
        'params,tokens,loss\n"100,000,000","2,000,000,000",3.1\n"200,000,000",4e9,2.9\n',
        "params (M),tokens_b,val_loss\n100,2,3.1\n200,4,2.9\n",
        "params,tokens,loss\n100M,2B,3.1\n200M,4B,2.9\n",
        'params,tokens,loss,notes\n1e8,2e9,3.1,"two\nlines, and a comma"\n2e8,4e9,2.9,\n',
        "params,tokens,loss,\n1e8,2e9,3.1,\n2e8,4e9,2.9,\n",  # a trailing comma everywhere
        "params,flops,loss\n1e8,1.2e18,3.1\n2e8,4.8e18,2.9\n",
        "tokens,flops,loss\n2e9,1.2e18,3.1\n4e9,4.8e18,2.9\n",
        "params,steps,batch_size,seq_len,loss\n1e8,1000,1000,2000,3.1\n2e8,2000,1000,2000,2.9\n",
    ],
)
def test_the_same_runs_however_written(folder: Path, text: str) -> None:
    found = runs(folder, text, counting="total")
    assert found["params"] == pytest.approx([1e8, 2e8])
    assert found["tokens"] == pytest.approx([2e9, 4e9])
    assert found["flops"] == pytest.approx([1.2e18, 4.8e18])
    assert found["loss"] == pytest.approx([3.1, 2.9])


@pytest.mark.parametrize("whole", [False, True])
def test_json_runs(folder: Path, whole: bool) -> None:
    records = [
        {"name": "a", "config": {"params": 1e8, "tags": ["x"]}, "summary": {"val_loss": 3.1},
         "tokens": 2000000000, "ok": True},
        {"name": "b", "config": {"params": 2e8}, "summary": {"val_loss": 2.9}, "tokens": 4e9},
    ]  # fmt: skip
    text = json.dumps(records) if whole else "\n".join(map(json.dumps, records))
    found = runs(folder, text, name="runs.jsonl", counting="total")
    assert found["params"] == pytest.approx([1e8, 2e8])
    assert found["loss"] == pytest.approx([3.1, 2.9])


def test_json_with_nan(folder: Path) -> None:
    text = '{"params": 1e8, "tokens": 2e9, "loss": NaN}\n{"params": 2e8, "tokens": 4e9, "loss": 3}'
    found = runs(folder, text, name="runs.jsonl", counting="total")
    assert found.dropped == ("line 1: loss is nan",)


def test_a_repeated_header_is_skipped_and_said(folder: Path) -> None:
    header = PLAIN.splitlines()[0]
    found = runs(folder, PLAIN + header + "\n4e8,8e9,2.7\n", counting="total")
    assert len(found) == 3
    assert found.warnings == ("the header stands 2 times in runs.csv",)
    assert found.rows == (2, 3, 5)


# --- trackers --------------------------------------------------------------------------------

WANDB = (
    '"Name","ID","State","Notes","Created","Runtime","config.n_params","config.tokens",'
    '"_step","val_loss"\n'
    '"gentle-fog-1","a1","finished","-","2026-01-01","100","100000000","2000000000","999","3.1"\n'
    '"brave-sun-2","a2","crashed","-","2026-01-01","10","200000000","4000000000","12","7.9"\n'
    '"brave-sun-2","a3","finished","-","2026-01-01","99","200000000","4000000000","999","2.9"\n'
    '"calm-sea-4","a4","running","-","2026-01-01","99","400000000","8000000000","5","2.95"\n'
)


def test_a_run_table_of_wandb_leaves_out_what_did_not_finish(folder: Path) -> None:
    found = runs(folder, WANDB, counting="total")
    assert found["loss"] == pytest.approx([3.1, 2.9])
    assert found.dropped == (
        "line 3: run brave-sun-2 a2 is marked crashed",
        "line 5: run calm-sea-4 a4 is marked running",
    )
    assert "Runtime" in found.unread


HISTORY = (
    '"Step","small - val_loss","small - val_loss__MIN","small - val_loss__MAX","large - val_loss"\n'
    "100,4.0,3.9,4.1,\n200,3.5,3.4,3.6,3.9\n300,,,,3.2\n"
)
SIZES = "name,params,tokens_per_step\nsmall,1e8,500000\nlarge,2e8,1000000\n"


def test_a_history_of_wandb_with_the_sizes_beside_it(folder: Path) -> None:
    sizes = folder / "sizes.csv"
    sizes.write_text(SIZES)
    found = runs(folder, HISTORY, counting="total", runs_table=sizes)
    assert found["params"] == pytest.approx([1e8, 2e8])
    assert found["tokens"] == pytest.approx([200 * 5e5, 300 * 1e6])
    assert found["loss"] == pytest.approx([3.5, 3.2])
    assert any("2 runs have several points" in note for note in found.warnings)


def test_all_points_of_curves_on_request_and_with_a_warning(folder: Path) -> None:
    sizes = folder / "sizes.csv"
    sizes.write_text(SIZES)
    found = runs(folder, HISTORY, counting="total", runs_table=sizes, curves=True)
    assert len(found) == 4
    assert any("constant learning rate" in note for note in found.warnings)


def test_scalars_of_tensorboard(folder: Path) -> None:
    sizes = folder / "sizes.csv"
    sizes.write_text(SIZES)
    paths = []
    for name, last in (("small", 3.5), ("large", 3.2)):
        path = folder / f"run-{name}-tag-val_loss.csv"
        path.write_text(f"Wall time,Step,Value\n1700000000.1,100,4.5\n1700000100.2,200,{last}\n")
        paths.append(path)
    found = read(paths, counting="total", runs_table=sizes)
    assert found["tokens"] == pytest.approx([200 * 5e5, 200 * 1e6])
    assert found["loss"] == pytest.approx([3.5, 3.2])


def test_curves_without_sizes_name_the_remedy(folder: Path) -> None:
    refused(folder, HISTORY, "neither params nor tokens\nGive --runs-table")
    sizes = folder / "sizes.csv"
    sizes.write_text("name,params,tokens_per_step\nsmall,1e8,500000\n")
    refused(folder, HISTORY, "run 'large' is not in sizes.csv", runs_table=sizes)
    sizes.write_text("name,params,tokens\nsmall,1e8,5e9\n")
    refused(folder, HISTORY, "no column tokens_per_step", runs_table=sizes)
    refused(folder, PLAIN, "a table already", runs_table=sizes)
    refused(folder, HISTORY.replace("large - val_loss", "large - lr"), "Export one metric")


def test_event_files_name_the_remedy(folder: Path) -> None:
    path = folder / "events.out.tfevents.1700000000.host.1.0"
    path.write_bytes(b'\x18\x00\x00\x00\x00\x00\x00\x00\xa3\x7fK"')
    with pytest.raises(BadValue, match="TensorBoard event file\nDownload its scalar as CSV"):
        read([path])


def test_curves_are_told_from_sizes_that_share_a_name(folder: Path) -> None:
    text = "name,params,tokens,loss\nm,1e8,1e9,3.3\nm,2e8,2e9,3.1\nm,2e8,4e9,2.9\nn,1e8,9e9,2.8\n"
    found = runs(folder, text, counting="total")
    assert found["tokens"] == pytest.approx([1e9, 4e9, 9e9])


def test_steps_that_matter_to_nothing_may_be_told_twice(folder: Path) -> None:
    text = "params,tokens,loss,_step,max_steps\n1e8,2e9,3.1,10,100\n2e8,4e9,2.9,10,100\n"
    found = runs(folder, text, counting="total")
    assert "steps" not in found
    refused(
        folder, "params,loss,_step,max_steps,batch_tokens\n1e8,3.1,10,100,1e6\n",
        "'_step' and 'max_steps' both read as steps",
    )  # fmt: skip


def test_epochs_say_how_many_tokens_are_unique(folder: Path) -> None:
    found = runs(folder, "params,tokens,epochs,loss\n1e8,4e9,4,3.1\n1e8,4e9,0.5,3.0\n")
    assert found["unique_tokens"] == pytest.approx([1e9, 4e9])


# --- conventions -----------------------------------------------------------------------------


def test_two_conventions_in_one_column_are_refused(folder: Path) -> None:
    text = "params,counting,tokens,loss\n1e8,total,2e9,3.1\n2e8,non_embedding,4e9,2.9\n"
    refused(folder, text, "'total' on line 2, 'non_embedding' on line 3")
    found = runs(folder, text, where={"counting": "total"})
    assert found.counting == "total"
    refused(folder, text.replace("non_embedding", "total"), "counts total", counting="kaplan")
    refused(folder, text.replace("total", "all").replace("non_embedding", "all"), "'all'")


def test_a_header_that_names_its_convention_needs_no_option(folder: Path) -> None:
    text = PLAIN.replace("params", "params_non_embedding")
    assert runs(folder, text).counting == "non_embedding"
    refused(folder, text, "counts non_embedding, not total", counting="total")


def test_flops_that_disagree_with_sizes_are_refused(folder: Path) -> None:
    text = "params,tokens,flops,loss\n1e8,2e9,1.2e12,3.1\n2e8,4e9,4.8e12,2.9\n"
    refused(folder, text, "1e-06 times 6 x params x tokens")
    few = "params,tokens,flops,loss\n1e8,2e9,1.2e18,3.1\n2e8,4e9,4.8e18,2.9\n4e8,8e9,1.9e15,2.7\n"
    found = runs(folder, few, counting="total")
    assert any("on lines 4" in note for note in found.warnings)


# --- faults ----------------------------------------------------------------------------------

OVERFLOWN = 6 * 10**10 * 10**12 - 2**64 * ((6 * 10**22) // 2**64 + 1)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("params,tokens,loss\n", "no rows"),
        ("a,b\n1,2\n", "the runs need loss and two of params, tokens, flops"),
        ("params,loss\n1e8,3\n", "the runs need"),
        ("params,tokens,loss\n1e8,2e9\n", "line 2: 2 cells under 3 headers"),
        ("params,tokens,loss\n1e8,2e9,3.1,9\n", "line 2: 4 cells under 3 headers"),
        ("params,tokens,loss\nmany,2e9,3\n", "line 2: params is 'many', which is not a number"),
        ("params,tokens,loss\n125,2e9,3\n", "params is 125, below any model"),
        ("params,tokens,loss\n1e8,20,3\n", "tokens is 20, below any run"),
        (f"params,flops,loss\n1e10,{OVERFLOWN},3\n", "integer product overflowed"),
        ("params,tokens,loss\n-1e8,2e9,3\n", r"line 2: params is -1e\+08"),
        ("params,tokens,loss\n1e8,2e9,nan\n", "no loss is a number"),
        ("params,tokens,loss\n1e8,2e9,50\n", "no run can be used: line 2: loss 50 is that of"),
        ("params,tokens,loss,loss\n1e8,2e9,3,4\n", "two columns are named 'loss'"),
        ("params,tokens,val_loss,eval_loss\n1e8,2e9,3,4\n", "both read as loss"),
        ('params,tokens,loss\n"1e8,2e9,3\n', "line 2: unexpected end"),
        ("params;tokens;loss\n1e8;1,234;3\n", "thousands or a decimal comma"),
        ("{not json", "not JSON"),
        ("[1, 2]", "is no run"),
    ],
)
def test_faults_are_named(folder: Path, text: str, match: str) -> None:
    refused(folder, text, match)


def test_single_bad_rows_are_left_out_and_named(folder: Path) -> None:
    found = runs(folder, PLAIN + "4e8,8e9,inf\n4e8,,2.7\n2e8,4e9,2.9\n4e8,8e9,-1\n")
    assert len(found) == 2
    assert found.dropped == (
        "line 4: loss is inf",
        "line 5: a size is missing",
        "line 6: the same run as line 3",
        "line 7: loss is -1, not positive",
    )
    assert any("unknown convention" in note for note in found.warnings)


def test_what_is_no_text_is_refused(folder: Path) -> None:
    for content in (b"\x00\x01\x02", b"\xff\xfe1\x00", "params,tokens,löss".encode("latin-1"),
                    b"params,tokens,loss\n1e8,2e9,3\x00\n"):  # fmt: skip
        path = folder / "runs.bin"
        path.write_bytes(content)
        with pytest.raises(BadValue, match=r"not UTF-8|binary|NUL"):
            read([path])
    with pytest.raises(BadValue, match="is a folder"):
        read([folder])
    with pytest.raises(BadValue, match="No such file"):
        read([folder / "missing.csv"])


def test_many_points_of_curves_are_read_and_reduced(folder: Path) -> None:
    text = io.StringIO()
    text.write("run,params,tokens,loss,note\n")
    for run in range(20):
        for step in range(1, 2001):
            text.write(f"r{run},{1e8 * (run + 1)},{step * 1e6},{8 - step / 500},some words\n")
    found = runs(folder, text.getvalue(), counting="total")
    assert len(found) == 20
    assert set(found["tokens"]) == {2e9}
    assert len(runs(folder, text.getvalue(), counting="total", curves=True)) == 40_000


@given(
    sizes=st.lists(
        st.tuples(st.floats(1e5, 1e12), st.floats(1e6, 1e14), st.floats(1.0, 9.0)),
        min_size=1, max_size=8, unique_by=lambda row: row[0],
    )
)  # fmt: skip
def test_what_is_written_is_read(sizes: list[tuple[float, float, float]],
                                 tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    lines = [",".join(map(repr, row)) for row in sizes]
    path.write_text("\n".join(["params,tokens,loss", *lines]))
    found = read([path], counting="total")
    assert np.column_stack([found["params"], found["tokens"], found["loss"]]) == pytest.approx(
        np.array(sizes)
    )


@pytest.mark.parametrize(("said", "why"), [(b"", "is empty"), (b"\xff\xfe", "is not UTF-8 text")])
def test_a_pipe_is_named_in_words(said: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(said)))
    with pytest.raises(BadValue, match=f"standard input {why}"):
        read([Path("-")])
