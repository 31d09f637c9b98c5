"""Fuzz one target with atheris: `python -m tests.fuzz.one TARGET [libFuzzer's own options and directories]`."""

import sys

import atheris

with atheris.instrument_imports(include=["keystead", "json", "lark"]):
    from tests.fuzz.faces import FACES
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, options = sys.argv[1], sys.argv[2:]
    target = {**TARGETS, **FACES}[name]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
