"""tgc job, tgc build, tgc store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from tgc.cli.arguments import MODEL, compiling, json_option, keeping, mapping
from tgc.cli.output import print_json, progress, size
from tgc.errors import ModelError, OptionError
from tgc.whole_file import write_whole

_FOLDER = click.Path(path_type=Path)
_store = click.option("--store", "store_folder", type=_FOLDER, help="The store's folder [default: TGC_STORE, else in the user's cache].")
_remote = click.option("--remote", metavar="URL", help="Another store that is asked for what is missing [default: TGC_STORE_REMOTE].")


@click.command()
@click.argument("model", type=MODEL)
@click.option("-o", "--output", type=_FOLDER, default=Path("job.toml"), show_default=True, help="The job file to write.")
@compiling
@keeping
@click.option("--selftest", is_flag=True, help="Add NAME_selftest().")
@click.option("--lock", type=_FOLDER, metavar="FILE", help="Schedule kernels as a lock file of tgc tune says.")
def job(model: Path, output: Path, target: str, selftest: bool, **flags: Any) -> None:
    """Write a job file: the model by its hash, target, options, version, and the hash of the artifact that they make.

    \b
    Example:
      tgc job model.onnx --target x86-64-v3 -o job.toml
    """
    from tgc.job import make_job, print_job

    pairs = {key: mapping(value, f"--{key.rstrip('s')}") for key, value in flags.items() if isinstance(value, tuple)}
    options = {**{key: value for key, value in flags.items() if not isinstance(value, tuple)}, **pairs, "selftest": selftest}
    with progress(f"compiling {model.name}"):
        made, _ = make_job(model, target, options, output.parent)
    write_whole(output, print_job(made).encode())
    click.echo(f"{output}: makes {made.artifact}")


@click.command("build")
@click.argument("job_file", metavar="JOB", type=_FOLDER)
@click.option("-o", "--output", type=_FOLDER, help="Output folder; by default named after the model.")
@click.option("--check", is_flag=True, help="Write nothing: build twice, in processes with other hash seeds, and compare the hashes.")
@_store
@_remote
@json_option
def build_job(job_file: Path, output: Path | None, check: bool, store_folder: Path | None, remote: str | None, as_json: bool) -> None:
    """Make the artifact that JOB describes; its hash is the one in JOB, or nothing is written.

    \b
    Example:
      tgc build job.toml -o out
      tgc build job.toml --check
    """
    from tgc.job import build, content_hash, read_job
    from tgc.store import default_store

    with progress(f"building {job_file.name}"):
        artifact = build(read_job(job_file), job_file.parent, default_store(store_folder, remote))
    found = content_hash(artifact)
    if check:
        _require_same(job_file, found, store_folder, remote)
    folder = None if check else artifact.write(output or Path(artifact.name))
    if as_json:
        print_json({"sha256": found, "folder": str(folder) if folder else None, "checked": check})
    else:
        click.echo(f"{found}  {folder or artifact.name + ', built twice'}")


def _require_same(job_file: Path, expected: str, store_folder: Path | None, remote: str | None) -> None:
    if os.environ.get("TGC_BUILD_AGAIN"):
        return
    flags = [*(["--store", str(store_folder)] if store_folder else []), *(["--remote", remote] if remote else [])]
    command = [sys.executable, "-m", "tgc", "build", str(job_file.resolve()), "--check", "--json", *flags]
    again = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "4711", "TGC_BUILD_AGAIN": "1"}, capture_output=True, check=False)
    found = json.loads(again.stdout)["sha256"] if again.returncode == 0 else again.stderr.decode("utf-8", "replace").strip()
    if found != expected:
        raise ModelError(f"a second build gave {found}, the first {expected}", str(job_file), "this is a defect in tgc; please report it")


@click.command()
@click.argument("action", type=click.Choice(["put", "fetch", "check", "gc"]))
@click.argument("artifacts", metavar="[ARTIFACT]...", nargs=-1, type=_FOLDER)
@_store
@_remote
def store(action: str, artifacts: tuple[Path, ...], store_folder: Path | None, remote: str | None) -> int:
    """Keep weights by content, shared by artifacts. put: move an artifact's weights there; tgc.load and tgc run find them.
    fetch: put them beside the program again. check: list damaged entries. gc: remove what no artifact needs.

    \b
    Example:
      tgc store put out
      tgc store fetch out --remote s3://bucket/weights
      tgc store gc
    """
    from tgc.store import default_store

    chosen = default_store(store_folder, remote)
    if action == "check":
        damaged = chosen.damaged()
        whole = f"{sum(1 for _ in chosen.entries())} entries, all whole"
        click.echo("\n".join(f"damaged: {chosen.path(digest)}" for digest in damaged) or whole)
        return 1 if damaged else 0
    if action == "gc":
        count, freed = chosen.collect()
        click.echo(f"{count} entries removed, {size(freed)}")
        return 0
    if not artifacts:
        raise click.UsageError(f"{action} takes artifacts")
    for artifact in artifacts:
        click.echo(_move(action, artifact, chosen))
    return 0


def _move(action: str, artifact: Path, chosen: Any) -> str:
    from tgc.run.load import read_manifest
    from tgc.store import digest_of

    weights = read_manifest(artifact)["weights"]
    if weights["file"] is None:
        raise OptionError("has no weights in a file of their own", str(artifact))
    path, digest = artifact / weights["file"], weights["sha256"]
    if action == "fetch":
        write_whole(path, chosen.get(digest).read_bytes())
        return f"{path}: {size(path.stat().st_size)}"
    if path.exists() and digest_of(path) != digest:
        raise ModelError("is not the file that was compiled (its hash differs)", str(path), "compile the model again")
    chosen.need(artifact, [digest])  # before it is there, so that no collection takes it for unused
    if path.exists():
        chosen.put(path.read_bytes())
    stored = chosen.get(digest)
    if chosen.remote:
        chosen.push(digest)
    path.unlink(missing_ok=True)
    return f"{stored}: {size(stored.stat().st_size)}"
