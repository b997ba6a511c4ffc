"""What is added to one sequence's logits before a token is drawn, kept true token by token."""

import numpy as np

from headrace.engine.messages import Submit


class Adjustment:
    """Bias, penalties and banned end tokens of a sequence, as a sparse addition to its logits.

    For token j, drawn c[j] times in the output so far, it is

        bias[j] - frequency_penalty * c[j] - presence_penalty * (c[j] > 0)

    (OpenAI's API reference, "Frequency and presence penalties"), computed in float64; and -inf for
    an end token while the output has fewer than `min_tokens` tokens. `ids` [B] rise, `values` [B]
    go with them. The work per token does not grow with the vocabulary.
    """

    def __init__(self, asked: Submit) -> None:
        self._asked = asked
        self._bias = dict(asked.logit_bias)
        self._counts: dict[int, int] = {}
        self._is_penalised = asked.frequency_penalty != 0.0 or asked.presence_penalty != 0.0
        self._num_output = 0
        known = sorted({*self._bias, *(asked.stop_ids if self._is_early else ())})
        self.ids = np.array(known, np.int32)
        self.values = np.array([self._value(token_id) for token_id in known], np.float32)

    @classmethod
    def of(cls, asked: Submit) -> "Adjustment | None":
        """The adjustment that `asked` needs; None when its logits are drawn from as they are."""
        neutral = (0.0, 0.0, (), 0)
        needed = (
            asked.frequency_penalty,
            asked.presence_penalty,
            asked.logit_bias,
            asked.min_tokens,
        )
        return None if needed == neutral else cls(asked)

    def count(self, token_id: int) -> None:
        """Take note of one more output token."""
        was_early = self._is_early
        self._num_output += 1
        if self._is_penalised:
            self._counts[token_id] = self._counts.get(token_id, 0) + 1
            self._set(token_id)
        if was_early and not self._is_early:
            for stop_id in self._asked.stop_ids:
                self._set(stop_id)
            matters = self.values != 0.0  # a row without any takes the shorter way
            self.ids, self.values = self.ids[matters], self.values[matters]

    @property
    def _is_early(self) -> bool:
        return self._num_output < self._asked.min_tokens

    def _value(self, token_id: int) -> float:
        asked = self._asked
        if self._is_early and token_id in asked.stop_ids:
            return -np.inf
        count = self._counts.get(token_id, 0)
        penalty = asked.frequency_penalty * count + asked.presence_penalty * (count > 0)
        return self._bias.get(token_id, 0.0) - penalty

    def _set(self, token_id: int) -> None:
        place = int(np.searchsorted(self.ids, token_id))
        value = self._value(token_id)
        if place < len(self.ids) and self.ids[place] == token_id:
            self.values[place] = value
        else:
            self.ids = np.insert(self.ids, place, token_id)
            self.values = np.insert(self.values, place, value)
