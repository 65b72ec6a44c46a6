"""One episode as it grows: an environment that runs its calls, the one reward function, and the record of both.

    with Episode(spec, executor) as episode:
        while episode.stop is None:
            completion = ...                            # whoever plays, sees `episode.messages` and `episode.tools`
            turn = await episode.take(completion)       # the calls are run and graded
    trajectory = episode.trajectory()

Our rollout drives one with a policy; a server or another framework's loop drives it from outside. What is played and
how it is graded is the same.
"""

from __future__ import annotations

from toolfoundry.environment import Environment, Executor
from toolfoundry.reward import grade_turn
from toolfoundry.types import Completion, EnvSpec, Limits, Message, Preset, StopReason, ToolSchema, Trajectory, Turn

__all__ = ["Episode"]


class Episode:
    """One rollout of one environment. `policy` and `sample` say in the record who played, and which repetition it is.

    stop: why it is over, None while it is not. messages: the conversation up to now, as a policy is to see it.
    """

    def __init__(
        self,
        spec: EnvSpec,
        executor: Executor,
        limits: Limits = Limits(),
        *,
        policy: str = "policy",
        sample: int = 0,
        preset: Preset = "frontier",
    ) -> None:
        self._environment = Environment(spec, executor, limits, seed=sample)
        self._task, self._limits = spec.task, limits
        self._preset: Preset = preset
        self._policy, self._sample = policy, sample
        self.tools: tuple[ToolSchema, ...]
        self._prompt, self.tools = self._environment.start()
        self._unsolved = tuple(goal.id for goal in self._task.goals)
        self._credited: frozenset[str] = frozenset()
        self._turns: list[Turn] = []
        self._messages: list[Message] = list(self._prompt)
        self._calls = self._tokens = 0
        self.stop: StopReason | None = None
        self.error: str | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    @property
    def unsolved(self) -> tuple[str, ...]:
        """The ids of the goals that no call has solved yet."""
        return self._unsolved

    async def take(self, completion: Completion) -> Turn:
        """Runs and grades one completion, and ends the episode where it was the last one or a limit is reached.

        Raises ValueError where the episode is over, and a FoundryError where something of ours failed: then nothing
        has been added to the record.
        """
        if self.stop is not None:
            raise ValueError(f"the episode is over ({self.stop}): found another completion, expected none")
        message = completion.message
        step = await self._environment.step(message)
        graded = grade_turn(
            self._task.goals,
            self._unsolved,
            message,
            step.results,
            self._task.answer,
            self._preset,
            credited=self._credited,
            tagged=self._task.tagged,
            calls_per_turn=self._limits.calls_per_turn,
        )
        self._unsolved, self._credited = graded.unsolved_ids, graded.credited
        turn = Turn(completion=completion, results=step.results, notice=step.notice, reward=graded.reward)
        self._turns.append(turn)
        self._messages += [message, *step.messages]
        self._calls += len(message.tool_calls)
        self._tokens += _tokens(completion)
        if step.done:
            self.stop = "length" if message.faults else "answered"
        else:
            self.stop = self._limit_reached()
        return turn

    def end(self, stop: StopReason, error: str | None = None) -> None:
        """Ends the episode from outside; one that is over already stays as it ended."""
        if self.stop is None:
            self.stop, self.error = stop, error

    def trajectory(self) -> Trajectory:
        """The record up to now. An episode that is not over counts as cut off after its last turn (`max_turns`)."""
        return Trajectory(
            task=self._task,
            policy=self._policy,
            sample=self._sample,
            preset=self._preset,
            calls_per_turn=self._limits.calls_per_turn,
            prompt=self._prompt,
            turns=self.turns,
            stop=self.stop or "max_turns",
            error=self.error,
        )

    def _limit_reached(self) -> StopReason | None:
        limits = self._limits
        if len(self._turns) >= limits.max_turns:
            return "max_turns"
        if limits.max_calls is not None and self._calls >= limits.max_calls:
            return "max_calls"
        if limits.max_tokens is not None and self._tokens >= limits.max_tokens:
            return "max_tokens"
        return None

    def close(self) -> None:
        """Ends the worker, if there is one. Closing twice is harmless."""
        self._environment.close()

    def __enter__(self) -> Episode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _tokens(completion: Completion) -> int:
    if completion.token_ids:
        return len(completion.token_ids)
    return completion.usage.completion_tokens if completion.usage else 0
