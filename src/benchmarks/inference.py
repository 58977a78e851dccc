"""Measures the speed of scoring notes beside the recipe's evaluation.

`python -m src.benchmarks.inference [max_len=512] [hidden=256] [layers=4] [rounds=8] [precision=fp32]`: the same trained
weights score the same notes, four at a time, padded by transformers and packed by this project; one thread, medians of
processor time, after the logits were held against each other.
"""

import sys
import time
from statistics import median

import torch

from src.benchmarks.fixtures import engine, padded, random_drgs, random_notes, small_model, stock
from src.benchmarks.recipe import NOTES_A_STEP
from src.benchmarks.settings import read_settings
from src.benchmarks.training import batches_of, tokens, waste
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import track
from src.config.choices import Precision
from src.models.engine.packing import pack
from src.training.quiet_libraries import quiet_libraries

CLOSE = 1e-5
"""Logits of the same fp32 weights agree to this."""


def compare(max_len: int, hidden: int, layers: int, rounds: int, precision: Precision) -> None:
    """Holds logits against each other, measures both in turn, and prints the ratio.

    Raises:
        UserError: the logits differ.
    """
    model = small_model(hidden, layers)
    ours = engine(model, Precision.FP32, "cpu").eval()
    theirs = stock(model, Precision.FP32, "cpu", like=ours).eval()
    fast = ours if precision is Precision.FP32 else engine(model, precision, "cpu").eval()
    batches = batches_of(random_notes(200, max_len, model.vocab_size, 1), random_drgs(200, 1))
    worst, pace = 0.0, {"recipe": [0.0], "this": [0.0]}
    with torch.inference_mode():
        for turn in track(range(rounds * 4), total=rounds * 4, what="measuring", unit="step"):
            notes, _ = batches[turn % len(batches)]
            ids, mask = padded(notes)
            start = time.process_time()
            expected = theirs(input_ids=ids, attention_mask=mask).logits
            middle = time.process_time()
            outputs = fast(pack(notes))
            end = time.process_time()
            worst = max(worst, float((ours(pack(notes)) - expected).abs().max()) if turn < 8 else 0.0)
            real = tokens([batches[turn % len(batches)]])[0]
            pace["recipe"].append((middle - start) / real)
            pace["this"].append((end - middle) / real)
            if not torch.isfinite(outputs).all():
                raise UserError("a logit is not a number")
    print(f"logits in fp32: largest difference {worst:.1e}, at most {CLOSE:.0e} is let pass")
    if worst > CLOSE:
        raise UserError(f"the logits differ by {worst:.1e}; speeds of another computation are not shown")
    slow, quick = (median(pace[name][4:]) for name in ("recipe", "this"))
    print(
        f"max_len={max_len}, hidden {hidden}, {layers} blocks, {waste(batches):.1%} padding in steps of {NOTES_A_STEP}"
    )
    print(f"recipe's evaluation, fp32  {1 / slow:>10,.0f} tokens/s")
    print(f"this, {precision}                {1 / quick:>10,.0f} tokens/s, {slow / quick:.2f} times")


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        defaults = {"max_len": 512, "hidden": 256, "layers": 4, "rounds": 8, "precision": Precision.FP32}
        words = read_settings(sys.argv[1:], defaults)
        torch.set_num_threads(1)
        quiet_libraries()
        compare(**words)


if __name__ == "__main__":
    main()
