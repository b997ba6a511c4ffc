"""What of a request the engine takes on trust from nobody."""

from headrace.engine.logprobs import MAX_TOP
from headrace.engine.messages import Submit
from headrace.errors import InvalidRequest


def check_submission(asked: Submit, vocab_size: int, context_tokens: int) -> None:
    """Raise InvalidRequest unless `asked` can be run to its end."""
    if not asked.prompt or asked.max_tokens < 1:
        raise InvalidRequest("a sequence needs a prompt and room for one output token")
    if len(asked.prompt) + asked.max_tokens > context_tokens:
        raise InvalidRequest(f"prompt and output exceed {context_tokens} tokens")
    if not all(0 <= token < vocab_size for token in asked.prompt):
        raise InvalidRequest(f"a prompt token lies outside the vocabulary of {vocab_size}")
    if not all(0 <= token < vocab_size for token, _ in asked.logit_bias):
        raise InvalidRequest(f"a biased token lies outside the vocabulary of {vocab_size}")
    if not 0 <= asked.min_tokens <= asked.max_tokens or asked.logprobs > MAX_TOP:
        raise InvalidRequest("min_tokens or logprobs is out of range")
    if asked.scores_prompt and asked.logprobs < 0:
        raise InvalidRequest("a prompt is scored with log-probabilities only")
    if asked.min_tokens and len(set(asked.stop_ids)) >= vocab_size:
        raise InvalidRequest("every token ends this sequence, and none may")
    if not (0 <= asked.reserved < 1 and 0 <= asked.kept < 1):
        raise InvalidRequest("reserved and kept parts lie between 0 and 1")
    if not asked.weight > 0 or not (asked.deadline_s is None or asked.deadline_s > 0):
        raise InvalidRequest("weight and deadline must be above 0")
