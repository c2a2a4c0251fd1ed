"""Unpacks the parts of libtorch that a build needs from PyPI wheels: all headers, and the libraries for the CPU."""

import pathlib
import sys
import zipfile

LIBRARIES = {
    "libtorch_cpu.so",
    "libtorch.so",
    "libc10.so",
    "libgomp.so.1",
    # libtorch_cpu.so of the CUDA wheel needs these two even on machines without a GPU.
    "libcupti.so.13",
    "libcudart.so.13",
}


def target_of(member: str) -> str | None:
    """The path in the libtorch folder for a wheel's member, or None if it is not needed."""
    name = member.rsplit("/", 1)[-1]
    for include in ("torch/include/", "nvidia/cu13/include/"):
        if member.startswith(include) and name:
            return "include/" + member.removeprefix(include)
    return f"lib/{name}" if name in LIBRARIES else None


def main(wheels: pathlib.Path, libtorch: pathlib.Path) -> None:
    partial = libtorch.with_name(libtorch.name + ".partial")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if target := target_of(member):
                    path = partial / target
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, path.open("wb") as sink:
                        while block := source.read(1 << 22):
                            sink.write(block)
    missing = LIBRARIES - {path.name for path in (partial / "lib").iterdir()}
    if missing:
        sys.exit(f"these wheels lack {', '.join(sorted(missing))}")
    # Renamed last, so that an interrupted run leaves no incomplete installation.
    partial.rename(libtorch)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
