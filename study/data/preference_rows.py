"""Preference pairs as rows of tokens: both sides as the chat template writes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from study.data.chat_rows import ChatExample, ConversationFormat, prepared
from study.data.conversations import Conversation
from study.data.preferences import PreferencePair
from study.data.readers import Corpus
from study.spec.sections import StudySpec


@dataclass(frozen=True)
class PreferenceExample:
    """A pair as a person reads it, and as the model does; `target` is the chosen answer."""

    source: str
    target: str
    prompt: str
    conversation: str  # with both answers, as JSON
    chosen: ChatExample = field(compare=False, repr=False)
    rejected: ChatExample = field(compare=False, repr=False)
    group: str = field(compare=False, default="")

    @property
    def tokens(self) -> int:
        """The tokens of the longer conversation, before any cut."""
        return max(self.chosen.tokens, self.rejected.tokens)

    @property
    def is_trained(self) -> bool:
        """Whether both answers begin before the cut."""
        return self.chosen.is_trained and self.rejected.is_trained

    @property
    def rows(self) -> tuple[ChatExample, ...]:
        """Both sides."""
        return self.chosen, self.rejected


def preference_examples(
    spec: StudySpec, corpus: Corpus[PreferencePair]
) -> Corpus[PreferenceExample]:
    """Return pairs as rows, without those that are too long, and say how many these are.

    Raises:
        InputError: as for conversations.
    """
    return prepared(spec, corpus, _example)


def _example(
    form: ConversationFormat, pair: PreferencePair | Conversation, limit: int | None
) -> PreferenceExample:
    if isinstance(pair, Conversation):  # a question that somebody wants answered
        pair = PreferencePair(pair, pair)
    chosen, rejected = (form.example(side, limit) for side in (pair.chosen, pair.rejected))
    both = chosen.conversation + rejected.conversation
    return PreferenceExample(chosen.source, chosen.target, chosen.prompt, both, chosen, rejected)
