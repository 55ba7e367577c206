"""Job files: what an artifact is made from, in a few lines of TOML, and the hash that it then has on every machine."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tgc
from tgc import driver
from tgc.artifact import MANIFEST, Artifact
from tgc.errors import ModelError, OptionError
from tgc.frontend_onnx.external import external_files
from tgc.store import Store, digest_of
from tgc.targets import find

OPTIONS = ("name", "weights", "precision", "single", "half_from", "winograd", "threads", "selftest")
TABLES = ("dims", "shapes", "constants", "states", "shifts", "entries")
_KEYS = {"tgc", "model", "sha256", "external", "target", "artifact", "lock", "lock_sha256", "options", *TABLES}


@dataclass(frozen=True, slots=True)
class Job:
    """model: path, relative to the job file. sha256: of the model file; external: of each file of weights beside it, by name.

    lock, lock_sha256: the lock file, as the model, "" where there is none.
    artifact: the content hash of what the job makes. options: of `tgc.compile`, by name.
    """

    model: str
    sha256: str
    external: Mapping[str, str]
    target: str
    options: Mapping[str, Any]
    artifact: str = ""
    tgc: str = tgc.__version__
    lock: str = ""
    lock_sha256: str = ""


def content_hash(artifact: Artifact) -> str:
    """One hash for all of an artifact: that of its manifest, which holds the hash of every other file."""
    return hashlib.sha256(artifact.files[MANIFEST]).hexdigest()


def make_job(model: Path, target: str, options: Mapping[str, Any], beside: Path) -> tuple[Job, Artifact]:
    """The job that compiles `model`, to be written into the folder `beside`, and what it makes.

    Raises OptionError for the target "cpu", which is another one on every machine.
    """
    if find(target).cpu == "host":
        raise OptionError(f"{target!r} is the machine that compiles", "--target", "name one that is the same everywhere, such as x86-64-v3")
    external = {name: digest_of(model.parent / name) for name in external_files(model)}
    artifact = driver.compile(model, target, **options)
    lock = options.get("lock")
    kept = {key: value for key, value in options.items() if value not in (None, {}, ()) and key != "lock"}
    made = Job(_relative(model, beside), digest_of(model), external, target, {**kept, "name": artifact.name}, content_hash(artifact))
    return (replace(made, lock=_relative(lock, beside), lock_sha256=digest_of(lock)) if lock else made), artifact


def _relative(path: Path, folder: Path) -> str:
    """`path` as seen from `folder` where it is inside."""
    whole = path.resolve()
    return str(whole.relative_to(folder.resolve())) if whole.is_relative_to(folder.resolve()) else str(path)


def build(job: Job, folder: Path, store: Store) -> Artifact:
    """What the job in `folder` makes. A model that is not there is taken from the store.

    Raises ModelError where the model is not the one that the job was made for, or what comes out has another hash than it says.
    """
    if job.tgc != tgc.__version__:
        raise OptionError(f"the job is for tgc {job.tgc}, and this is {tgc.__version__}", "tgc", "install that one, or make the job again")
    model = folder / job.model
    if not model.exists():
        model = store.get(job.sha256)
    _require(model, job.sha256)
    for name, digest in job.external.items():
        _require(model.parent / name, digest)
    if job.lock:
        _require(folder / job.lock, job.lock_sha256)
    artifact = driver.compile(model, job.target, **job.options, lock=folder / job.lock if job.lock else None)
    if job.artifact and content_hash(artifact) != job.artifact:
        raise ModelError(f"the artifact's hash is {content_hash(artifact)}, and the job says {job.artifact}", artifact.name,
                         "one of the packages that tgc uses may have another version here")  # fmt: skip
    return artifact


def _require(path: Path, digest: str) -> None:
    found = digest_of(path)
    if found != digest:
        raise ModelError(f"is not the file that the job was made for: its hash is {found}, not {digest}", str(path))


def print_job(job: Job) -> str:
    """The text of the job file: sorted, one line a value."""
    plain = {key: value for key, value in sorted(job.options.items()) if key in OPTIONS}
    keys = ("tgc", "model", "sha256", "target", *(("lock", "lock_sha256") if job.lock else ()), "artifact")
    lines = [f"{key} = {_value(getattr(job, key))}" for key in keys]
    tables = {"external": job.external, "options": plain, **{key: job.options.get(key, {}) for key in TABLES}}
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{json.dumps(key)} = {_value(value)}" for key, value in sorted(table.items()))]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """As TOML has it, which for strings, numbers, booleans and lists of them is as JSON has it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def read_job(path: Path) -> Job:
    """The job in a file. Raises OptionError where it is none."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(set(content) - _KEYS | set(content.get("options", {})) - set(OPTIONS))
        if unknown:
            raise OptionError(f"does not know {unknown[0]!r}", str(path), f"a job has {', '.join(sorted(_KEYS))}")
        options = {**content.get("options", {}), **{key: content[key] for key in TABLES if key in content}}
        ranges = {key: tuple(value) if isinstance(value, list) else value for key, value in options.get("dims", {}).items()}
        options = {**options, "dims": ranges} if ranges else options
        return Job(content["model"], content["sha256"], content.get("external", {}), content["target"], options,
                   content.get("artifact", ""), content["tgc"], content.get("lock", ""), content.get("lock_sha256", ""))  # fmt: skip
    except OSError as error:
        raise OptionError(f"cannot be read: {error.strerror}", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise OptionError(f"is no job file: {error}", str(path), "make one with tgc job") from error
    except KeyError as error:
        raise OptionError(f"lacks {error}", str(path), "make one with tgc job") from error
