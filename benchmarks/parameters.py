"""What `toolfoundry analyze parameters` costs on two large checkpoints: memory, and time beside that of reading.

    python benchmarks/parameters.py [--gigabytes 3] [--folder FOLDER]

Writes two checkpoints of random bfloat16 weights in two shards each (names and shapes of a small Llama), the second
with a change planted in the MLP of layer 1, and removes them afterwards. Each measurement is a fresh process that
starts with both checkpoints out of the page cache; `plain` reads the same files with read() into one buffer. Memory is
the peak of the process's resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HIDDEN, INNER, VOCABULARY = 2048, 5632, 32000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=3.0, help="of each checkpoint")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written (default: a temporary folder)")
    parser.add_argument("--run", nargs=3, metavar=("WHAT", "BEFORE", "AFTER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        what, before, after = arguments.run
        print(json.dumps(run(what, Path(before), Path(after))))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        size = write_pair(before, after, int(arguments.gigabytes * 1e9))
        print(f"two checkpoints of {size / 1e9:.2f} GB in two shards each", flush=True)
        found: dict[str, list[dict[str, float]]] = {"plain": [], "analyze": []}
        for _ in range(arguments.repeat):
            for what, results in found.items():
                drop(before, after)
                command = [sys.executable, __file__, "--run", what, str(before), str(after)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results.append(json.loads(output.splitlines()[-1]))
                print(f"{what}: {results[-1]}", file=sys.stderr, flush=True)
    print("| | s, median (least – most) | GB/s | CPU s | peak memory, MB |\n|---|---|---|---|---|")
    for what, results in found.items():
        results.sort(key=lambda result: result["seconds"])
        least, middle, most = results[0], results[len(results) // 2], results[-1]
        seconds = f"{middle['seconds']:.1f} ({least['seconds']:.1f} – {most['seconds']:.1f})"
        speed, memory = 2 * size / middle["seconds"] / 1e9, max(result["peak_mb"] for result in results)
        print(f"| {what} | {seconds} | {speed:.2f} | {middle['cpu_s']:.1f} | {memory:.0f} |")
    print(f"\nfound: {found['analyze'][0]['largest']}")


def run(what: str, before: Path, after: Path) -> dict[str, float | str]:
    """One measurement: seconds (without the start of Python and the import of torch), CPU seconds, peak memory."""
    largest = ""
    if what == "plain":
        began, cpu = time.perf_counter(), time.process_time()
        buffer = bytearray(2**24)
        for file in sorted([*before.glob("*.safetensors"), *after.glob("*.safetensors")]):
            with file.open("rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass
    else:
        import torch  # noqa: F401

        from toolfoundry.analyze.checkpoints import open_pair
        from toolfoundry.analyze.parameter_report import largest_sentences
        from toolfoundry.analyze.parameters import compare_checkpoints

        began, cpu = time.perf_counter(), time.process_time()
        largest = " ".join(largest_sentences(compare_checkpoints(open_pair(before, after))))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    [peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": int(peak) / 1000, "largest": largest}


def write_pair(before: Path, after: Path, size: int) -> int:
    """Writes both checkpoints; the bytes of one of them."""
    import torch
    from safetensors.torch import save_file

    shapes = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN // 8, HIDDEN)}
    shapes |= {"self_attn.v_proj": (HIDDEN // 8, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN)}
    shapes |= {"mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
    per_layer = 2 * sum(rows * columns for rows, columns in shapes.values())
    layers = max(4, round((size - 4 * VOCABULARY * HIDDEN) / per_layer))
    names: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))]
    names += [(f"model.layers.{n}.{name}.weight", shape) for n in range(layers) for name, shape in shapes.items()]
    names += [("model.norm.weight", (HIDDEN,)), ("lm_head.weight", (VOCABULARY, HIDDEN))]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2**22, generator=generator) * 0.02  # drawn once: every tensor is a stretch of it, repeated
    total = 0
    for folder in (before, after):
        folder.mkdir()
        places: dict[str, str] = {}
        for shard, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
            tensors: dict[str, torch.Tensor] = {}
            for at, (name, shape) in enumerate(part):
                count = torch.Size(shape).numel()
                weight = noise.roll(7919 * at).repeat(-(-count // noise.numel()))[:count].reshape(shape)
                change = 0.0
                if folder is after:
                    change = 0.05 if name.startswith("model.layers.1.mlp.") else 0.005
                tensors[name] = (weight * (1 + change * (weight > 0))).bfloat16()
            file = f"model-{shard:05}-of-00002.safetensors"
            save_file(tensors, folder / file, metadata={"format": "pt"})
            places |= dict.fromkeys(tensors, file)
            total += (folder / file).stat().st_size
            del tensors
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return total // 2


def drop(*folders: Path) -> None:
    """Puts the files out of the page cache, which needs no rights."""
    for folder in folders:
        for file in folder.glob("*.safetensors"):
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    main()
