"""Random reads beside random changes of every kind against a judge that knows what was true and what was told (see `oracle`).

`PODIUM_ORACLE_SECONDS` (60): how long it runs in all, 3600 for the long run. `PODIUM_ORACLE_SEED`: the first episode's seed. A failure
prints its episode's: it gives the same players with the same strengths, not the same interleaving. `PODIUM_ORACLE_GO_ON`: a failure
does not end the run. `PODIUM_ORACLE_EPISODE` (7): how long one episode plays, s. `PODIUM_ORACLE_WITHOUT`: what to leave out, e.g.
"flood evict feed"."""

from __future__ import annotations

import os
import random
import time

import pytest

from oracle.changes import SECRET
from oracle.episode import SETTINGS, Episode, Plan

SECONDS = float(os.environ.get("PODIUM_ORACLE_SECONDS", "60"))
EPISODE = float(os.environ.get("PODIUM_ORACLE_EPISODE", "7"))
SEED = os.environ.get("PODIUM_ORACLE_SEED")


def test_every_answer_is_explained(spawn, world):
    server = spawn(SETTINGS, env={"PODIUM_WEBHOOK_SECRET": SECRET})
    seeds = random.Random(SEED)
    until = time.monotonic() + SECONDS
    first = int(SEED) if SEED else seeds.randrange(1 << 32)
    facts = episodes = 0
    errors: dict[str, int] = {}
    failed = []
    while not episodes or time.monotonic() + EPISODE < until:
        seed = first + episodes
        episode = Episode(server, world.airtable, Plan.drawn(seed))
        episode.play(EPISODE)
        judge = episode.judged()
        episodes += 1
        facts += judge.facts
        for code, count in judge.errors.items():
            errors[code] = errors.get(code, 0) + count
        print(f"seed {seed}: {len(episode.history.reads)} answers, {judge.facts} facts, {len(judge.found)} violations, {judge.errors}", flush=True)
        if judge.found:
            rules: dict[str, int] = {}
            for violation in judge.found:
                rules[violation.rule] = rules.get(violation.rule, 0) + 1
            failed.append(f"PODIUM_ORACLE_SEED={seed}: {rules}\n{episode.plan}\n{episode.story(judge.found[0])}")
            print(failed[-1], flush=True)
            if not os.environ.get("PODIUM_ORACLE_GO_ON"):
                break
    assert not failed, "\n\n".join(failed)
    assert facts > 500 * episodes, "too little was asked to prove anything"
