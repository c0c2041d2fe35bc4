"""VideoStream: every process and worker gets its share, in an order that seed and epoch fix and a state continues."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import frametap as ft
from clips import ClipLibrary
from integrations.real import real

torch = real("torch")

from torch.utils.data import DataLoader  # noqa: E402

from frametap.integrations.torch import VideoStream, collate, prefetch  # noqa: E402

SMALL = ft.Transform(size=(16, 16))
SHARDS = [list(range(0, 5)), list(range(5, 7)), [], list(range(7, 18))]


class Manifest:
    """Turns a shard of numbers into rows of one clip, so that a sample says which row it was."""

    def __init__(self, video: Path) -> None:
        self.video = str(video)

    def __call__(self, shard: Iterable[int]) -> list[dict[str, Any]]:
        return [{"video": self.video, "number": number} for number in shard]


@pytest.fixture(scope="module")
def manifest(clips: ClipLibrary) -> Manifest:
    return Manifest(clips["one_frame"])


def stream(manifest: Manifest, **arguments: Any) -> VideoStream:
    return VideoStream(SHARDS, ft.Uniform(1), SMALL, expand=manifest, **arguments)


def numbers(samples: Iterable[Any]) -> list[int]:
    return [sample["number"] for sample in samples]


def test_unshuffled_order_is_that_of_the_shards(manifest: Manifest) -> None:
    assert numbers(stream(manifest)) == list(range(18))
    videos = VideoStream([[manifest.video] * 2, [manifest.video]], ft.Uniform(1), SMALL)
    assert [sample["row"] for sample in videos] == [0, 1, 2]


def test_a_path_is_no_shard(clips: ClipLibrary) -> None:
    for shuffle in (False, True):
        stream = VideoStream([str(clips["h264"]), clips["hevc"]], shuffle=shuffle)
        with pytest.raises(TypeError, match="expand"):
            next(iter(stream))


def test_shuffling_is_a_permutation_fixed_by_seed_and_epoch(manifest: Manifest) -> None:
    shuffled = stream(manifest, shuffle=True, seed=4)
    first = numbers(shuffled)
    assert sorted(first) == list(range(18))
    assert first != list(range(18))
    assert numbers(shuffled) == first
    assert numbers(stream(manifest, shuffle=True, seed=5)) != first
    shuffled.set_epoch(1)
    assert sorted(second := numbers(shuffled)) == list(range(18))
    assert second != first


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_processes_share_evenly(manifest: Manifest, world: int, shuffle: bool) -> None:
    shares = [
        numbers(stream(manifest, shuffle=shuffle, rank=rank, world_size=world))
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {18 // world}
    everything = [number for share in shares for number in share]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_share_evenly(manifest: Manifest, context: str) -> None:
    loader = DataLoader(
        stream(manifest, shuffle=True, rank=1, world_size=2),
        batch_size=2,
        num_workers=2,
        multiprocessing_context=context,
        collate_fn=collate,
    )
    found = [number for batch in loader for number in batch["number"].tolist()]
    everything = numbers(stream(manifest, shuffle=True))
    # Four consumers, the last two of them in this process; 18 rows make four whole rounds.
    assert sorted(found) == sorted(
        n for place, n in enumerate(everything[:16]) if place % 4 in (2, 3)
    )


def test_torchrun_variables_say_who_we_are(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert numbers(stream(manifest)) == list(range(1, 18, 3))


@pytest.mark.parametrize("workers", [None, "fork", "spawn"])
def test_ranks_of_torch_distributed(
    manifest: Manifest, tmp_path: Path, workers: str | None
) -> None:
    """Two processes in a real process group, of which spawned workers know nothing."""
    code = textwrap.dedent(f"""
        import json, sys, torch, frametap as ft
        from frametap.integrations.torch import VideoStream
        rank = int(sys.argv[1])
        torch.distributed.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
        rows = [[{{"video": {manifest.video!r}, "number": n}} for n in range(9)]]
        stream = VideoStream(rows, ft.Uniform(1), ft.Transform(size=(16, 16)))
        context = {workers!r}
        samples = stream if context is None else torch.utils.data.DataLoader(
            stream, batch_size=None, num_workers=1, multiprocessing_context=context)
        mine = torch.tensor([sample["number"] for sample in samples])
        shares = [torch.zeros_like(mine) for _ in range(2)]
        torch.distributed.all_gather(shares, mine)  # hangs or fails unless both have the same number
        print(json.dumps([share.tolist() for share in shares]))
        torch.distributed.destroy_process_group()
    """)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    assert "RANK" not in environment
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [json.loads(output.splitlines()[-1]) for output in outputs] == [
        [[0, 2, 4, 6], [1, 3, 5, 7]]
    ] * 2


def test_every_state_continues(manifest: Manifest) -> None:
    expected = numbers(stream(manifest, shuffle=True, rank=0, world_size=2))
    for taken in range(len(expected) + 1):
        first = stream(manifest, shuffle=True, rank=0, world_size=2)
        iterator = iter(first)
        head = [next(iterator)["number"] for _ in range(taken)]
        state = json.loads(json.dumps(first.state_dict()))
        second = stream(manifest, shuffle=True, rank=0, world_size=2)
        second.load_state_dict(state)
        second.set_epoch(state["epoch"])
        assert head + numbers(second) == expected
        assert numbers(second) == expected, "the next iteration starts at the beginning"


def test_resuming_opens_nothing_it_passes_over(clips: ClipLibrary) -> None:
    rows = [["absent.mp4", str(clips["one_frame"])]]
    resumed = VideoStream(rows, ft.Uniform(1), SMALL)
    resumed.load_state_dict({"epoch": 0, "position": 1, "seed": 0, "consumers": 1})
    assert [sample["row"] for sample in resumed] == [1]


def test_a_state_of_another_run_is_refused(manifest: Manifest) -> None:
    state = stream(manifest, rank=0, world_size=2).state_dict()
    with pytest.raises(ValueError, match="consumers 2 then and 1 now"):
        stream(manifest).load_state_dict(state)
    with pytest.raises(ValueError, match="seed 0 then and 3 now"):
        stream(manifest, seed=3, rank=0, world_size=2).load_state_dict(state)


def test_a_state_is_not_spread_over_workers(manifest: Manifest) -> None:
    first = stream(manifest)
    samples = iter(first)
    assert [next(samples)["number"] for _ in range(4)] == [0, 1, 2, 3]
    resumed = stream(manifest)
    resumed.load_state_dict(first.state_dict())
    loader = DataLoader(resumed, batch_size=None, num_workers=2)
    with pytest.raises(ValueError, match="consumers 1 then and 2 now"):
        list(loader)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_where_workers_are_is_not_known_here(manifest: Manifest, context: str) -> None:
    taken = stream(manifest)
    loader = DataLoader(taken, batch_size=None, num_workers=1, multiprocessing_context=context)
    next(iter(loader))
    with pytest.raises(RuntimeError, match="StatefulDataLoader"):
        taken.state_dict()
    next(iter(taken))
    assert taken.state_dict()["position"] == 1


def test_a_state_beside_prefetch(manifest: Manifest) -> None:
    """The thread is ahead; a state taken in it goes with its batch."""
    taken = stream(manifest)
    ahead = prefetch(taken, "cpu", depth=3)
    next(ahead)
    with pytest.raises(RuntimeError, match="another thread"):
        taken.state_dict()
    assert len(list(ahead)) == 17
    assert taken.state_dict()["position"] == 18, "nobody is ahead any more"
    with_state = prefetch(((sample, taken.state_dict()) for sample in taken), "cpu", depth=3)
    states = [state for _, state in with_state]
    assert [state["position"] for state in states] == list(range(1, 19))


@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_dataloader_resumes(manifest: Manifest, workers: int) -> None:
    stateful = real("torchdata.stateful_dataloader").StatefulDataLoader

    def loader() -> Any:
        dataset = stream(manifest, shuffle=True, seed=2)
        return stateful(dataset, batch_size=3, num_workers=workers, collate_fn=collate)

    expected = [batch["number"].tolist() for batch in loader()]
    for taken in (3, len(expected), None):
        first = loader()
        iterator = iter(first)
        head = [batch["number"].tolist() for batch in islice(iterator, taken)]
        state = first.state_dict()
        del iterator
        second = loader()
        second.load_state_dict(state)
        # torchdata goes on to the next epoch where the end of this one was seen.
        rest = expected if taken is None else expected[taken:]
        assert [batch["number"].tolist() for batch in second] == rest
        assert head == expected[:taken]
        assert [batch["number"].tolist() for batch in second] == expected


def test_skipped_samples_keep_the_shares_even(manifest: Manifest) -> None:
    rows = [[manifest.video, "absent.mp4", manifest.video, manifest.video]]
    shares = [
        list(VideoStream(rows, ft.Uniform(1), SMALL, on_error="skip", rank=rank, world_size=2))
        for rank in range(2)
    ]
    assert [len(share) for share in shares] == [2, 2]
    batch = collate(shares[1])
    assert batch["row"].tolist() == [3]
    assert [skipped.row for skipped in batch["skipped"]] == [1]
