"""Several tokens per pass over the weights: draft some, verify them all at once.

Each round gives the model the last token and a draft of those after it. The logits of every
position come from one pass. Tokens are drawn from them in order, as without a draft; as long as
the drawn token is the drafted one, the next position's logits are right as well. Draws depend on
the seed and on the position alone, so the text is the same with and without drafting, greedy or
sampled.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.common.passes import Pass
from lightmamba.text.context import Context
from lightmamba.text.continuation import Continuation, Decoder, Step
from lightmamba.text.drafting import Drafter, check_slot, most_drafted
from lightmamba.text.pace import Pace

__all__ = ["Speculation", "speculate"]


@dataclass
class Speculation:
    """Counts of drafts and accepted tokens so far."""

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that were accepted; not a number if none was drafted."""
        return self.accepted / self.drafted if self.drafted else math.nan

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a pass gave."""
        return self.tokens / self.passes if self.passes else math.nan


def speculate(
    decoder: Decoder,
    text: Continuation,
    drafter: Drafter,
    *,
    pace: Pace | None = None,
    report: Speculation | None = None,
    context: Context | None = None,
) -> Iterator[Step]:
    """Continue a prompt: the steps of :func:`lightmamba.text.generate`, in fewer passes.

    Parameters
    ----------
    decoder
        Computes the logits.
    text
        Of the prompt, not begun.
    drafter
        Proposes tokens, of this text alone.
    pace
        Number of tokens to draft; by default as many as pay. Hardware sets a limit too.
    report
        Is added to.
    context
        As of :func:`lightmamba.text.generate`; its texts all have drafters.
    """
    limit = most_drafted(decoder)
    pace, seen = pace or Pace(limit), Speculation() if report is None else report
    limit = min(limit, pace.most)
    ids, context = text.prompt.tolist(), context or Context()
    unread = context.begin(text.prompt, lambda: decoder.empty_state(1, undecided=limit))
    steps, replay = [text.take(context.read(decoder, unread))], 0
    while True:
        yield from steps
        if steps[-1].finish_reason is not None:
            return
        ids += [step.token_id for step in steps]
        begin = time.perf_counter()
        most = min(pace.length(), limit, text.left - 1)
        draft = list(drafter.draft(ids, most, text.trial)) if most > 0 else []
        drafting, before = time.perf_counter() - begin, decoder.seconds
        state, context.state = context.state, None  # if it fails, nothing is known of the state
        rows = decoder.run(Pass((check_slot([ids[-1], *draft], replay),)), state)
        context.ids += ids[len(context.ids) :]
        context.state = state
        seconds = decoder.seconds - before
        steps, right = text.check(rows, draft)
        replay = len(steps) - 1
        pace.note(len(draft), right, seconds, drafting)
        seen.passes += 1
        seen.tokens += len(steps)
        seen.drafted += len(draft)
        seen.accepted += right
