"""`toolfoundry rollout` and `toolfoundry score`: a policy plays environments, and what it did is graded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from pydantic import JsonValue
from rich.markup import escape

from toolfoundry.cli.ray import Ray, Shards, ShardSize, place_of
from toolfoundry.console import (
    ApiKeyEnv,
    AsJson,
    BaseUrl,
    Batch,
    Chat,
    Device,
    Envs,
    Force,
    LiveScore,
    Output,
    ParseText,
    Problems,
    SkipBad,
    Thinking,
    Timeout,
    TopP,
    command_line,
    done_line,
    environments_of,
    err,
    live_score,
    number,
    out,
    print_json,
    print_summaries,
    progress,
    separate,
    write_mode,
)
from toolfoundry.errors import EndpointError, InputError
from toolfoundry.policies.scripted import SCRIPTED
from toolfoundry.store import RecordWriter, WriteMode, read, run_file, write_run_file
from toolfoundry.types import Limits, Preset, Trajectory
from toolfoundry.untrusted import visible

if TYPE_CHECKING:
    from toolfoundry.cluster.commands import Place
    from toolfoundry.metrics import Summary
    from toolfoundry.policies.players import ModelOptions

__all__ = ["rollout", "score"]


def rollout(
    envs: Envs,
    output: Output,
    policy: Annotated[str, typer.Option(help=f"{', '.join(SCRIPTED)}, openai, transformers or vllm.")] = "gold",
    samples: Annotated[int, typer.Option(min=1, help="Rollouts of each environment.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N environments.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of scripted policies and of sampling.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Rollouts at a time.")] = 64,
    reward: Annotated[Preset, typer.Option(help="Which reward grades the turns.")] = "frontier",
    max_turns: Annotated[int, typer.Option(min=1, help="Turns of one rollout.")] = 20,
    max_calls: Annotated[int | None, typer.Option(min=1, help="Tool calls in one rollout.")] = None,
    max_rollout_tokens: Annotated[int | None, typer.Option(min=1, help="Completion tokens in one rollout.")] = None,
    max_time: Annotated[float | None, typer.Option(min=0.001, help="Seconds for one rollout.")] = None,
    base_url: BaseUrl = None,
    model: Annotated[str | None, typer.Option(help="Model name at the endpoint, or a checkpoint.")] = None,
    api_key_env: ApiKeyEnv = None,
    chat: Chat = "hermes",
    batch: Batch = 64,
    device: Device = None,
    thinking: Thinking = None,
    parse_text: ParseText = False,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="Sampling temperature (of a checkpoint: 1 if not given).")
    ] = None,
    top_p: TopP = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of one completion (of a checkpoint: 1024 if not given).")
    ] = None,
    timeout: Timeout = 300.0,
    retries: Annotated[int, typer.Option(min=0, help="Retries of one request.")] = 5,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished output; failed rollouts are redone.")
    ] = False,
    ray: Ray = None,
    shards: Shards = None,
    shard_size: ShardSize = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Let a policy play environments, and record graded trajectories."""
    from toolfoundry.metrics import summarise
    from toolfoundry.policies.players import ModelOptions, choose_player
    from toolfoundry.reward import score_trajectory
    from toolfoundry.rollout import Job, run_rollouts
    from toolfoundry.sandbox import Sandbox

    started = time.time()
    problems = Problems()
    separate(output, envs)
    options = ModelOptions(
        model=model,
        base_url=base_url,
        api_key_env=api_key_env,
        chat=chat,
        batch=batch,
        device=device,
        thinking=thinking,
        parse_text=parse_text,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        timeout_s=timeout,
        retries=retries,
    )
    limits = Limits(max_turns=max_turns, max_calls=max_calls, max_tokens=max_rollout_tokens, max_time_s=max_time)
    if place := place_of(ray, shards, shard_size, output):
        played = _play_on_ray(
            envs,
            output,
            place,
            write_mode(force, resume),
            policy=policy,
            options=options,
            samples=samples,
            limit=limit,
            seed=seed,
            concurrency=concurrency,
            reward=reward,
            limits=limits,
            problems=problems if skip_bad else None,
            started=started,
        )
        _show_played(output, played, as_json, problems)
        return
    found = environments_of(envs, skip_bad, problems)
    player = choose_player(policy, options, seed=seed, concurrency=concurrency)
    specs = list({spec.id: spec for spec in found}.values())  # one file may hold an environment twice
    if len(specs) < len(found):
        err.print(f"[yellow]the same environment again, left out: {len(found) - len(specs)}[/yellow]")
    specs = specs[:limit]
    for spec in specs[:1]:
        player.make(spec, 0)  # what is wrong with the choice of policy is best said before anything is written
    done: dict[str, Trajectory] = {}

    config: dict[str, JsonValue] = {
        "envs": str(envs),
        "policy": player.name,
        "seed": seed,
        "samples": samples,
        "reward": reward,
        "limits": limits.model_dump(mode="json"),
        **player.config,
    }
    if resume:
        _same_run(output, config)

    def keep(trajectory: Trajectory) -> bool:
        if trajectory.preset != reward:
            raise InputError(f"{output} was graded with {trajectory.preset!r}, found --reward {reward!r}")
        if trajectory.stop == "error":
            return False
        done[trajectory.key] = trajectory
        return True

    async def play(writer: RecordWriter[Trajectory], sandbox: Sandbox, jobs: Iterable[Job], live: LiveScore) -> None:
        failures = 0
        rollouts = run_rollouts(
            jobs, player.make, sandbox, limits, name=player.name, preset=reward, concurrency=concurrency
        )
        async with contextlib.aclosing(rollouts):
            async for trajectory in rollouts:
                writer.write(trajectory)
                done[trajectory.key] = trajectory
                score = score_trajectory(trajectory)
                live.update(None if score is None else score.strict.f1)
                failures = failures + 1 if trajectory.stop == "error" else -(10**9)
                if failures >= 10:  # not one has succeeded: the fault is not the environments'
                    raise EndpointError(f"the first {failures} rollouts all failed ({trajectory.error}); see {output}")

    with RecordWriter(output, Trajectory, write_mode(force, resume), keep=keep) as writer, Sandbox() as sandbox:
        write_run_file(output, command=command_line(), config=config, counts={}, started=started)
        jobs = [
            job
            for sample in range(samples)
            for spec in specs
            if (job := Job(spec, sample)).key(player.name) not in done
        ]
        with live_score(len(jobs)) as live:
            asyncio.run(play(writer, sandbox, jobs, live))
    summary = summarise(done.values())
    write_run_file(
        output,
        command=command_line(),
        config=config,
        counts={"trajectories": len(done), **player.usage()},
        started=started,
    )
    _show_played(output, summary, as_json, problems)


def _show_played(output: Path, summary: Sequence[Summary], as_json: bool, problems: Problems) -> None:
    """Prints how it went. Raises EndpointError where not one rollout could be scored."""
    count = sum(item.overall.n for item in summary)
    all_failed = count > 0 and sum(item.overall.unscored for item in summary) == count
    if as_json:
        print_json([item.model_dump(mode="json") for item in summary])
    elif not all_failed:  # else a table of dashes, and the reason twice
        print_summaries(summary)
    done_line(f"{count} trajectories written to {output}", problems)
    if all_failed:
        raise EndpointError(f"every rollout failed: {next(cause for item in summary for cause in item.errors)}")


def _play_on_ray(
    envs: Path,
    output: Path,
    place: Place,
    mode: WriteMode,
    *,
    policy: str,
    options: ModelOptions,
    samples: int,
    limit: int | None,
    seed: int,
    concurrency: int,
    reward: Preset,
    limits: Limits,
    problems: Problems | None,
    started: float,
) -> list[Summary]:
    """The rollouts, played on the nodes. `problems`: gets bad records; without it the first one is an error."""
    from toolfoundry.cluster.commands import places_of, play_on_ray
    from toolfoundry.cluster.work import PlayWork, choose_scalable, input_of

    player = choose_scalable(policy, options, seed, concurrency)  # here too, for what is wrong with it
    environments, places, again = places_of(envs, limit)
    if not environments:
        raise InputError(f"{envs}: has no environments")
    if again:
        err.print(f"[yellow]the same environment again, left out: {again}[/yellow]")
    work = PlayWork(
        input_of(envs),
        environments,
        places,
        samples,
        policy,
        player.name,
        options,
        seed,
        limits,
        reward,
        concurrency,
    )
    config: dict[str, JsonValue] = {
        "envs": str(envs),
        "policy": player.name,
        "seed": seed,
        "samples": samples,
        "reward": reward,
        "limits": limits.model_dump(mode="json"),
        **player.config,
        "ray": place.address,
    }
    with progress("playing", environments * samples) as advance:
        summary = play_on_ray(work, output, place, mode, on_bad=problems, on_done=advance)
    counts: dict[str, JsonValue] = {"trajectories": sum(item.overall.n for item in summary)}
    write_run_file(output, command=command_line(), config=config, counts=counts, started=started)
    return summary


def score(
    trajectories: Annotated[Path, typer.Argument(metavar="TRAJECTORIES", show_default=False)],
    reward: Annotated[Preset | None, typer.Option(help="Also grade every turn anew with this reward.")] = None,
    ray: Ray = None,
    shards: Shards = None,
    shard_size: ShardSize = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Solve-P, Solve-R, Solve-F1 and answer accuracy of stored trajectories, in both conventions."""
    from toolfoundry.metrics import summarise, turn_rewards

    problems = Problems()
    if place := place_of(ray, shards, shard_size, trajectories, ".score.shards"):
        from toolfoundry.cluster.commands import score_on_ray

        summaries, rewards = score_on_ray(trajectories, place, reward=reward, on_bad=problems if skip_bad else None)
    else:
        records = list(read(trajectories, Trajectory, skip_bad=skip_bad, on_bad=problems))
        if not records:
            raise InputError(f"{trajectories}: has no trajectories to score")
        summaries = summarise(records)
        rewards = {} if reward is None else turn_rewards(records, reward)
    if as_json:
        document: dict[str, Any] = {"summaries": [summary.model_dump(mode="json") for summary in summaries]}
        if reward is not None:
            document["turn_rewards"] = {
                "preset": reward,
                "policies": {name: metric.model_dump(mode="json") for name, metric in rewards.items()},
            }
        print_json(document)
    else:
        print_summaries(summaries)
        for name, metric in rewards.items():
            label = f"mean turn reward ({reward}) of {escape(visible(name, 60))}"
            out.print(f"{label}: {number(metric.mean)} over {metric.n} turns", highlight=False)
    done_line(None, problems)


def _same_run(output: Path, config: dict[str, JsonValue]) -> None:
    """Raises InputError where a run that is to be gone on with was begun with another configuration."""
    path = run_file(output)
    if not (path.exists() and output.exists()):
        return
    begun: dict[str, JsonValue] = orjson.loads(path.read_bytes()).get("config", {})
    for name in ("seed", "reward", "limits", "temperature", "top_p", "thinking", "max_tokens", "chat", "batch"):
        if begun.get(name) != config.get(name):
            raise InputError(
                f"{output} was begun with {name} {begun.get(name)!r}, found {config.get(name)!r}; "
                "--resume goes on with the same run only"
            )
