import dataclasses
import math
import random
from pathlib import Path

import pytest
import torch

from src.baselines.bert import Pieces, build, rebuild
from src.cli.compose import compose, read_command_line
from src.cohort.prepared import read_cohort
from src.cohort.split import Split
from src.config.architecture import ROOT
from src.config.pretrain import PretrainConfig
from src.config.train import TrainConfig
from src.models import masked_words
from src.models.pretraining import train_base, write_base
from src.models.pretraining_texts import Text, encode
from src.models.tokenizer import SPECIAL, train_word_pieces

COURSES = [f"Patient {number} came with chest pain, fever and cough; {number} days later home." for number in range(40)]
DIAGNOSES = ["Pneumonia", "Chest pain"] * 20


@pytest.fixture
def cfg(cohort: Path, tmp_path: Path) -> PretrainConfig:
    words = [
        "objective=masked",
        "hidden_size=16",
        "intermediate_size=32",
        "layers=1",
        "heads=2",
        "context=64",
        "shortest=32",
    ]
    more = ["batch_tokens=256", "epochs=2", "device=cpu", "threads=1", f"data.dir={cohort}", f"out={tmp_path / 'bert'}"]
    return compose(PretrainConfig, read_command_line([*words, *more], "pretrain"))[0]


def test_of_the_words_15_percent_are_targets_and_of_these_80_are_masked_10_random_and_10_as_they_are(
    cfg: PretrainConfig,
) -> None:
    tokenizer = train_word_pieces(COURSES, 300)
    start, end, mask = (tokenizer.convert_tokens_to_ids(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
    draw, word = random.Random(0), len(tokenizer)
    texts = [Text([start, *draw.choices(range(5, word), k=400)], [5, end]) for _ in range(200)]
    torch.manual_seed(0)
    long = dataclasses.replace(cfg, context=400, shortest=400, batch_tokens=4000)
    batches = list(masked_words.draw(texts, tokenizer, long, draw))
    ids, targets = (torch.cat([batch[part].flatten() for batch in batches]) for part in (0, 1))
    hidden = targets != masked_words.NO_TARGET
    words = 200 * 398
    assert ids.numel() == 200 * 400
    assert int(targets[hidden].min()) >= len(SPECIAL)
    assert hidden.sum() / words == pytest.approx(0.15, abs=0.005)
    read = ids[hidden]
    assert (read == mask).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (read == targets[hidden]).float().mean() == pytest.approx(0.1, abs=0.02)
    assert not (ids[~hidden] == mask).any()


def test_the_loss_of_masked_words_is_that_of_transformers(cfg: PretrainConfig) -> None:
    tokenizer = train_word_pieces(COURSES, 300)
    texts = encode(tokenizer, [COURSES[0], COURSES[1][:30], COURSES[2]], DIAGNOSES[:3])
    torch.manual_seed(0)
    (batch,) = masked_words.draw(texts, tokenizer, cfg, random.Random(0))
    model = masked_words.new_model(tokenizer, cfg)
    ids, targets, real = batch
    assert not real.all()
    expected = model(input_ids=ids, attention_mask=real.long(), labels=targets).loss
    assert masked_words.loss(model, batch, "cpu").item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_bert_of_masked_words_is_written_in_bf16_and_tuned_in_fp32(
    cfg: PretrainConfig, cohort: Path, tmp_path: Path
) -> None:
    tokenizer = train_word_pieces(COURSES, 300, cfg.context)
    model, measured = train_base(tokenizer, COURSES, DIAGNOSES, cfg)
    assert 1 < measured["perplexity"] < len(tokenizer)
    write_base(tmp_path, tokenizer, model, cfg, measured)
    words = ["model=nanobert", f"model.path={tmp_path}", f"data.dir={cohort}", "max_len=24"]
    (run,) = compose(TrainConfig, read_command_line(words, "train"))
    pieces = Pieces.of([], run)
    (ids,) = pieces.encode([COURSES[0]])
    assert ids == [2, *tokenizer(COURSES[0], add_special_tokens=False)["input_ids"][:22], 3]
    network = build(pieces, [], 7, run)
    own = dict(network.named_parameters())
    assert {weight.dtype for weight in [*own.values(), *rebuild(pieces, 7, run).parameters()]} == {torch.float32}
    for name, weight in model.bert.named_parameters():
        assert torch.equal(own[f"bert.bert.{name}"], weight.float())


def test_the_bert_that_ships_has_the_sizes_that_its_configuration_says_and_knows_words_of_notes(
    cfg: PretrainConfig, cohort: Path
) -> None:
    from transformers import AutoTokenizer, BertForMaskedLM

    (run,) = compose(TrainConfig, read_command_line(["model=nanobert", f"data.dir={cohort}"], "train"))
    model = BertForMaskedLM.from_pretrained(ROOT / run.model.path, dtype=torch.float32).eval()
    sizes, ours = model.config, run.model
    assert (sizes.hidden_size, sizes.intermediate_size) == (ours.hidden_size, ours.intermediate_size)
    assert (sizes.num_hidden_layers, sizes.num_attention_heads) == (ours.layers, ours.heads)
    assert (sizes.vocab_size, sizes.max_position_embeddings) == (ours.vocab_size, ours.context)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / run.model.path)
    notes = read_cohort(cohort).notes(Split.TRAIN, 16)
    texts = encode(tokenizer, notes["text"].to_list(), notes["diagnosis"].to_list())
    torch.manual_seed(0)
    long = dataclasses.replace(cfg, context=256, shortest=256, batch_tokens=4096)
    (batch,) = masked_words.draw(texts, tokenizer, long, random.Random(0))
    with torch.inference_mode():
        assert masked_words.loss(model, batch, "cpu").item() < math.log(ours.vocab_size) - 3
