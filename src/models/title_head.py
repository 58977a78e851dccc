"""A head's rows start from the base's own reading of what each logit stands for, in words."""

from typing import Any

import torch

from src.config.choices import Prompt
from src.models.classifier import Classifier
from src.models.engine.packing import pack
from src.models.prompts import encode_notes
from src.models.schemes import Scheme

SPREAD = 0.1
"""Standard deviation of the first logits, all softmaxes added up: logits that know nothing would cost SPREAD^2 / 2,
0.005, above a uniform guess. Those of the nano base cost 0.05 less, as titles in small letters resemble their notes."""

TOKENS = 1024
"""Read at once: without gradients 0.1 GB of a 13B base's activations, less than the smallest step takes."""


@torch.no_grad()
def start_from_titles(classifier: Classifier, scheme: Scheme, tokenizer: Any, prompt: Prompt, max_len: int) -> None:
    """Sets the rows of a fresh head to what it would read of the words of each logit, were they a note.

    Fresh adapters change nothing, so that these are readings of the base itself. The rows of a softmax are centred, as
    what all of them share moves no score, and then scaled: over the readings of all words its logits have a standard
    deviation of `SPREAD` over the root of the number of softmaxes. A LLaMA's final norm gives notes readings of the
    same length as these, so that their first loss is that of a uniform guess.

    Args:
        classifier: with fresh adapters, on its device; of several processes each computes the same rows.
        scheme: says the words, and which logits share a softmax.
        tokenizer: of the base.
        prompt: follows the words, as it follows a note.
        max_len: tokens of one logit's words that are read, as of a note.
    """
    texts = {words: index for index, words in enumerate(dict.fromkeys(scheme.words))}
    encoded = encode_notes(tokenizer, list(texts), prompt, max_len)
    count = max(1, TOKENS // max(map(len, encoded)))
    parts = [classifier.readings(pack(encoded[first : first + count])) for first in range(0, len(encoded), count)]
    readings = torch.cat(parts)[[texts[words] for words in scheme.words]]
    softmaxes = [sorted(set(indices)) for indices in scheme.logit_indices().values()]
    for indices in softmaxes:
        rows = readings[indices] - readings[indices].mean(0)
        spread = (readings @ rows.T).square().mean().sqrt()
        scale = SPREAD / len(softmaxes) ** 0.5 / spread.clamp_min(torch.finfo(spread.dtype).tiny)
        classifier.head.weight[indices] = rows * scale
