"""Pre-training: a small BERT by masked language modelling, where no checkpoint can be had."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import (
    BertConfig,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
    set_seed,
)

from ...config.settings import PretrainSettings
from ...data.corpus import read_rows
from ...errors import UserError
from ...utils.checksums import tree_digest
from ...utils.distributed import world_size
from ...utils.files import atomic_folder, write_json
from ..checkpoints import checkpoint_folder
from ..distillation import MaskedWords
from ..loop import fit
from ..tokenization import encode

MAX_ALPHABET = 1000  # characters of a vocabulary; the most frequent ones


def pretrain(settings: PretrainSettings, text: Path, checkpoints: Path, out: Path) -> None:
    """Make a small BERT by masked language modelling, with a WordPiece vocabulary of its own."""
    if world_size() > 1:
        raise UserError(
            "pretrain", expected="one process", got=f"{world_size()} of them", fix="start it alone"
        )
    set_seed(settings.seed)
    rows = read_rows(text)
    tokenizer = train_tokenizer((row["text"] for row in rows), settings.vocab_size)
    model = MaskedWords(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            num_hidden_layers=settings.num_hidden_layers,
            num_attention_heads=settings.num_attention_heads,
            intermediate_size=4 * settings.hidden_size,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    collate = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=settings.mlm_probability, seed=settings.seed
    )
    described = {"pretrain": dataclasses.asdict(settings)}
    with checkpoint_folder(checkpoints, {**described, "text": tree_digest(text)}) as store:
        examples = encode(rows, tokenizer, settings.max_length)
        fitted = fit(model, examples, None, collate, settings, settings.seed, store)
        with atomic_folder(out) as part:
            model.bert.save_pretrained(part)
            tokenizer.save_pretrained(part)
            write_json(part / "training.json", described | dataclasses.asdict(fitted))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer in the manner of BERT's; Chinese characters are words."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trainer = BertWordPieceTokenizer(lowercase=True)
    texts = list(texts)
    first, later = characters(trainer.pre_tokenizer, map(trainer.normalize, texts))
    alphabet = sorted(first + later, key=lambda c: (-(first + later)[c], c))[:MAX_ALPHABET]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The library numbers characters, and so breaks ties, in the order of a hash with a random key,
    # but for those it is told beforehand.
    trainer.train_from_iterator(
        texts,
        vocab_size=vocab_size,
        show_progress=False,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=special + [f"##{c}" for c in sorted(set(alphabet) & later.keys())],
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_model(folder)
        return BertTokenizer(vocab=f"{folder}/vocab.txt", do_lower_case=True)


def characters(splitter: Any, texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each character begins a word, and how often it stands later in one."""
    first: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(text):
            first.update(word[0])
            later.update(word[1:])
    return first, later
