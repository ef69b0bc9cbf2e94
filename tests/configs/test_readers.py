"""Readers give the numbers that a careful person works out by hand from the same file."""

from __future__ import annotations

from pathlib import Path

import pytest

from budgetplan.check.judge import judge, subject_of
from budgetplan.check.shape import named
from budgetplan.configs.document import open_document
from budgetplan.configs.reader import Told, read, readers, recognize
from budgetplan.configs.reading import Reading

FILES = Path(__file__).parent / "files"


def reading(name: str, **told: int) -> Reading:
    return read(open_document(FILES / name), told=Told(**told))


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name)
def test_each_file_is_recognized_as_what_it_is(path: Path) -> None:
    assert recognize(open_document(path)) == path.stem


def test_every_reader_has_a_file() -> None:
    assert set(readers) <= {path.stem for path in FILES.iterdir()}


GOLDEN = {
    # file: ranks, tokens a step, tokens, warmup steps of steps, by hand
    "torchtitan.toml": ({"ranks": 64}, 64 * 8192, 64 * 8192 * 1000, 200, 1000),
    "litgpt.yaml": ({}, 512 * 2048, 3e12, 2000, 2861022),
    "nanogpt.py": ({}, 12 * 40 * 1024, 12 * 40 * 1024 * 600000, 2000, 600000),
    "levanter.yaml": ({"vocab": 32000}, 1024 * 4096, 1024 * 4096 * 250000, 2000, 250000),
    "axolotl.yaml": ({"ranks": 1}, 8 * 1024, 8 * 1024 * 1000, 100, 1000),
    "llmfoundry.yaml": ({}, 256 * 2048, 256 * 2048 * 4800, 100, 4800),
    "olmo.yaml": ({}, 1024 * 4096, 5e12, 2000, 1192093),
    "megatron.sh": ({}, 128 * 8192, 128 * 8192 * 100000, 2000, 100000),
    # The batch is 384 until 200B tokens, and the run ends at 80B.
    "megatron.yaml": ({}, 384 * 4096, 19531250 * 4096, 3906252 / 384, 50863),
    "huggingface.yaml": ({"ranks": 16}, 8 * 4 * 16 * 2048, 8 * 4 * 16 * 2048 * 10000, 500, 10000),
    # 64 cards, two to a rank: 32 x 16,384 tokens.
    "torchtitan.json": ({"ranks": 64}, 2**19, 2**19 * 10000, 600, 10000),
    "nanotron.yaml": ({}, 4 * 4 * 32 * 4096, 2**21 * 100000, 2000, 100000),
    "gptneox.yml": ({"ranks": 32}, 32 * 32 * 2048, 2**21 * 143000, 1430, 143000),
    # 3.8e9 / 2^19 = 7247.9: the last step is a whole one.
    "olmocore.json": ({}, 2**19, 3.8e9, 2000, 7248),
    # 20 x 190,354,176 = 3,807,083,520 tokens: 7,261.4 steps.
    "olmocore.py": ({}, 2**19, 20 * 190_354_176, 2000, 7262),
    # Width 26 x 64 = 1664; matrices 12 x 1664^2 x 26 = 863,895,552; head 32768 x 1664 = 54,525,952.
    # D = 8.25 x 918,421,504 = 7.577e9; at depth 12 N is 84,934,656 + 25,165,824 = 110,100,480, and
    # 2^19 x 8.3416^0.383 = 1.18e6 is nearest to 2^20: 7,225 whole steps.
    "nanochat.sh": ({}, 2**20, 2**20 * 7225, 40, 7225),
    "nanochat.json": ({}, 2**19, 2**19 * 1000, 40, 1000),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_batch_length_and_warmup(name: str) -> None:
    told, batch, tokens, warmup, steps = GOLDEN[name]
    run = reading(name, **told).run
    assert run.batch_tokens == batch
    assert run.tokens == pytest.approx(tokens, rel=1e-9)
    assert run.steps == steps
    assert run.warmup_tokens == pytest.approx(warmup * batch, rel=1e-9)


ADAM = {
    # file: learning rate, beta2, epsilon, weight decay, clip; defaults are the framework's own
    "torchtitan.toml": (3e-4, 0.95, 1e-8, 0.1, 1.0),
    "litgpt.yaml": (4e-4, 0.95, 1e-8, 0.1, 1.0),
    "nanogpt.py": (6e-4, 0.95, 1e-8, 0.1, 1.0),
    "levanter.yaml": (3e-4, 0.95, 1e-5, 0.1, 1.0),
    "axolotl.yaml": (5e-4, 0.999, 1e-8, 0.01, 1.0),
    "llmfoundry.yaml": (6e-4, 0.95, 1e-8, 0.0, 1.0),
    "olmo.yaml": (3e-4, 0.95, 1e-8, 0.1, 1.0),
    "megatron.sh": (3e-4, 0.999, 1e-8, 0.1, 1.0),
    "huggingface.yaml": (3e-4, 0.999, 1e-8, 0.0, 1.0),
    "torchtitan.json": (3e-4, 0.95, 1e-8, 0.1, 1.0),
    "nanotron.yaml": (5e-4, 0.95, 1e-8, 0.1, 1.0),
    "gptneox.yml": (6e-4, 0.95, 1e-8, 0.1, 1.0),
    "olmocore.json": (3e-4, 0.95, 1e-8, 0.1, 1.0),
}


@pytest.mark.parametrize("name", ADAM)
def test_adam(name: str) -> None:
    run = reading(name, ranks=8).run
    found = (
        run.learning_rate, run.adam_beta2, run.adam_eps, run.weight_decay, run.grad_clip,
    )  # fmt: skip
    assert found == ADAM[name]


SHAPES = {
    # file: all parameters of the model that it trains, as released or by hand
    "torchtitan.toml": 8_030_261_248,
    "litgpt.yaml": 1_100_048_384,
    "megatron.sh": 8_030_261_248,
    "olmo.yaml": 7_298_617_344,
    "torchtitan.json": 8_030_261_248,
    # Of a layer 4 x 768^2 + 3 x 768 x 3072 + 4 x 768, a norm, two tables of 100,352 x 768.
    "olmocore.json": 12 * 9_440_256 + 768 + 2 * 77_070_336,
    # Of a layer 4 x 2048^2 + 3 x 2048 x 8192 + 2 x 2048, a norm, one table of 49,152 x 2048.
    "nanotron.yaml": 24 * 67_112_960 + 2048 + 100_663_296,
    # Of a layer 12 x 768^2 and two norms without biases, a norm, rows 50,304 + 1,024 of 768.
    "nanogpt.py": 12 * (7_077_888 + 1_536) + 768 + 51_328 * 768,
    # With biases: of a layer 12 x 768^2 + 13 x 768, a norm, rows 50,368 + 2,048 of 768.
    "llmfoundry.yaml": 12 * (7_077_888 + 9_984) + 1_536 + 52_416 * 768,
    "nanochat.sh": 863_895_552 + 2 * 54_525_952,
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape(name: str) -> None:
    assert subject_of(reading(name)).facts["params_total"] == SHAPES[name]


def test_origins_say_file_default_or_arithmetic() -> None:
    found = reading("torchtitan.toml", ranks=64)
    assert found.origins["learning_rate"].how == "file"
    assert found.place("learning_rate").line == 10
    assert found.origins["adam_beta2"].how == "default"
    assert "torchtitan" in found.origins["adam_beta2"].note
    assert found.origins["batch_sequences"].how == "derived"
    assert "64 data-parallel ranks" in found.origins["batch_sequences"].note


def test_what_a_file_cannot_tell_is_missing_not_guessed() -> None:
    found = reading("torchtitan.toml")
    assert found.run.batch_tokens is None
    assert "--gpus" in found.missing["batch_tokens"]


def test_the_config_whose_comment_says_three_trillion() -> None:
    # 3e12 / 4096 / 1024 = 715,256 steps; the file has 250,000, which are 1.05T tokens.
    (finding,) = [
        finding
        for finding in judge(reading("levanter.yaml", vocab=32000)).findings
        if finding.code == "BP101"
    ]
    assert finding.place.line == 12
    assert finding.suggestion == "715,256 steps"
    assert "1.05T" in finding.message


def test_the_recipe_whose_warmup_is_a_quarter_of_the_run() -> None:
    # 2,000 steps of 2^19 tokens are 27.6% of 3.8e9; the rate is a tenth of what any law says.
    found = {finding.code: finding for finding in judge(reading("olmocore.json")).findings}
    assert "27.6%" in found["BP202"].message
    assert found["BP202"].severity == "error"
    assert found["BP202"].place.line == 32
    assert "BP302" in found


def test_the_recipe_that_never_calls_its_learning_rate() -> None:
    found = {each.code: each for each in judge(reading("olmocore.py")).findings}
    # 2,000 of 7,261.4 steps.
    assert "27.5%" in found["BP202"].message
    assert "estimate_lr is defined and never called" in found["BP902"].message
    assert found["BP302"].place.line == 21


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("HuggingFaceTB/SmolLM2-135M", 134_515_008),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_030_261_248),
        ("llama3 8B", 8_030_261_248),
        ("some/model", None),
        ("", None),
    ],
)
def test_models_by_name(name: str, params: int | None) -> None:
    shape = named(name)
    assert (shape and shape.params().total) == params


def test_pythia_is_counted_as_released() -> None:
    # 162,322,944 parameters, with the tokenizer's 50,254 rows padded to a multiple of 128.
    found = subject_of(read(open_document(FILES / "gptneox.yml"), told=Told(ranks=32, vocab=50254)))
    assert found.facts["params_total"] == 162_322_944
    assert found.facts["tokens"] / found.facts["params_total"] == pytest.approx(1847.5, abs=0.1)
    assert "BP102" not in {each.code for each in judge(found.reading).findings}


RATIOS = {
    # file: tokens per parameter as published or by hand, of all parameters
    "nanogpt.py": 294_912_000_000 / 124_373_760,  # 2,371; about 2,378 by the 124M in its name
    "llmfoundry.yaml": 20.1,
    "litgpt.yaml": 2727,
    "olmo.yaml": 685,
}


@pytest.mark.parametrize("name", RATIOS)
def test_tokens_per_parameter(name: str) -> None:
    facts = subject_of(reading(name)).facts
    assert facts["tokens"] / facts["params_total"] == pytest.approx(RATIOS[name], rel=1e-3)


def flags(tmp_path: Path, text: str, **told: int) -> Reading:
    path = tmp_path / "pretrain.sh"
    path.write_text(f"torchrun --nproc_per_node 8 pretrain_gpt.py {text}")
    return read(open_document(path), told=Told(**told))


SMALL = (
    "--num-layers 2 --hidden-size 256 --num-attention-heads 4 --seq-length 128 --train-iters 100"
    " --max-position-embeddings 128 --micro-batch-size 1 --global-batch-size 8 --lr 1e-3"
)


@pytest.mark.parametrize(
    ("more", "params"),
    [
        # Biases everywhere and a learned table; rows 1,000 are padded to 1,024, tied.
        ("", 2 * (12 * 256**2 + 13 * 256) + 512 + (1024 + 128) * 256),
        # Nothing but LayerNorm has a bias, the head is its own, positions are rotary.
        ("--disable-bias-linear --squared-relu --untie-embeddings-and-output-weights"
         " --apply-layernorm-1p --position-embedding-type rope",
         2 * (12 * 256**2 + 4 * 256) + 512 + 2 * 1024 * 256),
        # Of the padding's multiple, 128 for each of two.
        ("--tensor-model-parallel-size 8 --disable-bias-linear --position-embedding-type rope",
         2 * (12 * 256**2 + 4 * 256) + 512 + 1024 * 256),
        # Four gated experts of 64, with a router; attention as before.
        ("--num-experts 4 --moe-router-topk 2 --moe-ffn-hidden-size 64 --swiglu"
         " --disable-bias-linear --position-embedding-type rope --normalization RMSNorm",
         2 * (4 * 256**2 + 4 * 256 + 4 * 3 * 256 * 64 + 2 * 256) + 256 + 1024 * 256),
    ],
    ids=["gpt", "nemotron", "padded", "mixture"],
)  # fmt: skip
def test_megatron_flags_make_the_model(tmp_path: Path, more: str, params: int) -> None:
    found = flags(tmp_path, f"{SMALL} {more}", vocab=1000)
    assert subject_of(found).facts["params_total"] == params
    assert found.remarks == ()


def test_a_batch_that_ramps_up(tmp_path: Path) -> None:
    # From 2 to 8 sequences by 2 over 300 samples: 100 samples each of 2, 4 and 6 are
    # 50 + 25 + 16.67 steps; the other 8.33 of 100 steps take 66.67 samples.
    run = flags(tmp_path, f"{SMALL} --rampup-batch-size 2 2 300").run
    assert run.tokens == pytest.approx((300 + 8 * (100 - 50 - 25 - 100 / 6)) * 128)
    assert run.batch_tokens == pytest.approx(run.tokens / 100)


def test_a_batch_in_stages_counts_each_token_once(tmp_path: Path) -> None:
    # 1,280 tokens in steps of 256, then 1,280 of 512: 5 + 2.5 steps.
    text = SMALL.replace("--train-iters 100", "--train-samples 20")
    run = flags(tmp_path, f"{text} --step-batch-size-schedule '0:2 1280:4'").run
    assert (run.tokens, run.steps) == (2560, 8)


def test_levanters_batch_in_stages(tmp_path: Path) -> None:
    # 500 steps of 64 sequences, then 1,500 of 128, of 1,024 tokens.
    path = tmp_path / "gpt.yaml"
    path.write_text(
        "model: {type: gpt2, seq_len: 1024, hidden_dim: 768, num_layers: 12, num_heads: 12}\n"
        "trainer: {mp: 'p=f32,c=bfloat16', num_train_steps: 2000, batch_axis: batch,\n"
        "  train_batch_size: [{start: 0, value: 64}, {start: 500, value: 128}]}\n"
        "optimizer: {learning_rate: 1e-3, warmup: 600}\n"
    )
    run = read(open_document(path)).run
    assert run.tokens == (500 * 64 + 1500 * 128) * 1024
    assert run.warmup_tokens == (500 * 64 + 100 * 128) * 1024


def test_flags_quoted_with_their_values(tmp_path: Path) -> None:
    path = tmp_path / "pretrain.sh"
    path.write_text(
        f"ARGS=(\n    {SMALL}\n)\nif true; then\n  MORE+=(\n"
        '    "--vocab-size 1000"\n    "--fp8-format hybrid"\n    "--mock-data"\n  )\nfi\n'
    )
    found = read(open_document(path))
    assert found.run.precision == "fp8"
    assert subject_of(found).facts["vocab"] == 1024


@pytest.mark.parametrize(
    ("dataset", "vocab"), [("openwebtext", 50304), ("shakespeare_char", 65), ("mine", None)]
)
def test_the_vocabulary_of_nanogpt_is_the_datas(
    tmp_path: Path, dataset: str, vocab: int | None
) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"block_size = 64\nmax_iters = 10\ndataset = {dataset!r}\n")
    found = read(open_document(path))
    assert subject_of(found).facts.get("vocab") == vocab
    assert ("architecture" in found.missing) == (vocab is None)


def test_the_state_of_a_trainer_says_what_was_trained() -> None:
    found = reading("trainer_state.json")
    assert (found.run.steps, found.run.learning_rate, found.micro_batch) == (1000, 4e-4, 8)
    # It does not hold the optimizer, whose defaults would be a guess.
    assert found.run.adam_beta2 is None
    assert found.run.weight_decay is None


def test_a_key_is_missed_where_one_nearly_like_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = (FILES / "torchtitan.toml").read_text()
    path.write_text(text.replace("warmup_steps = 200", "warmup_step = 20"))
    found = read(open_document(path))
    assert [(each.kind, each.instead) for each in found.remarks] == [
        ("unknown-key", "lr_scheduler.warmup_steps")
    ]


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name)
def test_nothing_is_unknown_in_a_file_without_mistakes(path: Path) -> None:
    remarks = read(open_document(path)).remarks
    assert [each.text for each in remarks if each.kind == "unknown-key"] == []


def test_a_misspelt_flag_is_told(tmp_path: Path) -> None:
    (remark,) = flags(tmp_path, f"{SMALL} --lr-warmup-iter 10").remarks
    assert (remark.kind, remark.instead) == ("unknown-key", "--lr-warmup-iters")


def test_a_section_of_another_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("type: llama\nseq_len: 512\n")
    path = tmp_path / "train.yaml"
    path.write_text(
        "model: !include model.yaml\ndata: !include ../elsewhere.yaml\n"
        "trainer: {train_batch_size: 4, num_train_steps: 10, fsdp_axis: embed}\n"
    )
    assert read(open_document(path)).run.batch_tokens == 2048


@pytest.mark.parametrize(
    ("comment", "codes"), [("# 7B model", {"BP102"}), ("# 124M parameters", set())]
)
def test_a_comment_that_declares_parameters(tmp_path: Path, comment: str, codes: set[str]) -> None:
    path = tmp_path / "train.py"
    path.write_text(f"{comment}\nblock_size = 1024\nmax_iters = 600000\n")
    found = judge(read(open_document(path))).findings
    assert {each.code for each in found} & {"BP102"} == codes


def test_a_comment_above_declares_tokens(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(
        "block_size = 1024\n# this makes the number of tokens be 300B\nmax_iters = 200000\n"
    )
    found = judge(read(open_document(path))).findings
    assert "BP101" in {each.code for each in found}


def test_cards_in_a_comment_are_a_hint_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = (FILES / "torchtitan.toml").read_text()
    path.write_text(f"# a preset for 64 A100 GPUs\n{text}")
    found = read(open_document(path))
    assert found.run.batch_tokens is None
    assert found.missing["batch_tokens"].endswith("a comment speaks of 64")


def test_cards_that_cannot_be_divided_are_told() -> None:
    found = reading("torchtitan.json", ranks=63)
    assert found.run.batch_tokens is None
    assert [remark.kind for remark in found.remarks] == ["contradiction"]


def test_a_warmup_longer_than_the_run_needs_no_batch_to_be_told(tmp_path: Path) -> None:
    path = tmp_path / "args.json"
    path.write_text(
        '{"per_device_train_batch_size": 8, "max_steps": 10000, "warmup_steps": 20000,'
        ' "learning_rate": 3e-4}'
    )
    found = read(open_document(path))
    assert found.run.batch_tokens is None
    assert [remark.text for remark in found.remarks if remark.kind == "contradiction"] == [
        "the warmup of 20000 steps outlasts the run of 10,000"
    ]


def test_a_comment_that_agrees_is_no_finding() -> None:
    found = judge(reading("llmfoundry.yaml"))
    assert reading("llmfoundry.yaml").declared == {"tokens": 2.5e9}
    assert "BP101" not in {finding.code for finding in found.findings}


def test_fine_tuning_is_recognized_and_left_alone() -> None:
    found = reading("axolotl.yaml", ranks=1)
    assert found.stage == "fine-tuning"
    assert [finding.code[:3] for finding in judge(found).findings] == []


def test_nothing_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    mark = tmp_path / "mark"
    path.write_text(
        f"block_size = 64\nmax_iters = 10\nbatch_size = __import__('os').mkdir({str(mark)!r})\n"
        "n_embd = 10 ** 10 ** 10\n"
    )
    found = read(open_document(path))
    assert not mark.exists()
    assert found.reader == "nanogpt"
    assert {remark.kind for remark in found.remarks} == {"unresolved"}
