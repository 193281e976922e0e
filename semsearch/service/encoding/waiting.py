"""Waiting texts: who is read next, and how many may wait."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from indexer.embedding.spec import Role


@dataclass(frozen=True)
class Task:
    """One way to read texts. Texts of equal tasks can be read together."""

    role: Role
    key: Hashable
    """What equal tasks of one role have in common."""
    run: Callable[[Sequence[Any]], Sequence[Any]] = field(compare=False)
    """Given texts, each with what belongs to it, returns the result of each."""


@dataclass(eq=False)
class Request:
    """The texts of one call."""

    task: Task
    texts: Sequence[Any]
    """Each as ``Task.run`` takes it."""
    tokens: Sequence[int]
    """Of each text."""
    done: Future[list[Any]] = field(default_factory=Future)
    """Its result: that of each text."""

    def __post_init__(self) -> None:
        """Expect a result for each text."""
        self.results: list[Any] = [None] * len(self.texts)
        self.left = len(self.texts)

    def give(self, row: int, result: Any) -> None:
        """Take the result of one text; with the last one the request is done."""
        self.results[row] = result
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(self.results)

    def fail(self, error: BaseException) -> None:
        """End with an error, if it has not ended."""
        if not self.done.done():
            self.done.set_exception(error)


class Text(NamedTuple):
    """One text that waits."""

    number: int
    """In the order in which all texts came."""
    request: Request
    row: int

    @property
    def tokens(self) -> int:
        """Its length."""
        return self.request.tokens[self.row]


class Line:
    """Texts that wait, in the order in which they came. For one thread at a time."""

    def __init__(self, room: int, budget: int) -> None:
        """Begin empty.

        Args:
            room: Tokens that may wait.
            budget: Tokens that are taken at once; one text of more is taken alone.
        """
        self.room = room
        self.budget = budget
        self.tokens = 0
        """That wait."""
        self._number = 0
        self._texts: dict[Hashable, deque[Text]] = {}

    def add(self, request: Request) -> bool:
        """Let all texts of a request wait, or none of them where there is no room; return which.

        A request that is larger than the room waits alone.
        """
        tokens = sum(request.tokens)
        if self.tokens and self.tokens + tokens > self.room:
            return False
        waiting = self._texts.setdefault(request.task.key, deque())
        for row in range(len(request.texts)):
            self._number += 1
            waiting.append(Text(self._number, request, row))
        self.tokens += tokens
        return True

    def take(self, most: int | None = None) -> list[Text]:
        """Return what is to be read next, longest first; nothing where nothing waits.

        It is the text that came first, with those behind it that can be read together with it.

        Args:
            most: Tokens; None: the budget.
        """
        budget = self.budget if most is None else most
        if not self._texts:
            return []
        key, waiting = min(self._texts.items(), key=lambda each: each[1][0].number)
        taken = [waiting.popleft()]
        total = taken[0].tokens
        while waiting and total + waiting[0].tokens <= budget:
            taken.append(waiting.popleft())
            total += taken[-1].tokens
        if not waiting:
            del self._texts[key]
        self.tokens -= total
        return sorted(taken, key=lambda text: -text.tokens)

    def drop(self, request: Request) -> None:
        """Forget the texts of a request that still wait."""
        key = request.task.key
        kept = deque(text for text in self._texts.get(key, ()) if text.request is not request)
        self.tokens -= sum(text.tokens for text in self._texts.pop(key, ())) - sum(text.tokens for text in kept)
        if kept:
            self._texts[key] = kept
