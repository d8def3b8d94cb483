"""For programs of tests that are killed at moments of all kinds, and go on: each life is a fork of the program."""

import os
import signal

import kstyle


def fate(deadly):
    """A function that kills the process when it is called for the `deadly`-th time; 0: never."""
    left = [deadly]

    def moment(*_):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return moment


def before_names(moment):
    """Calls `moment` whenever a file that was written is about to get its name."""
    replace = os.replace

    def struck(source, target):
        moment()
        replace(source, target)

    os.replace = struck


def to_the_end(work):
    """Ends the process after `work()`, with 1 where that is an error of kstyle's."""
    try:
        work()
    except kstyle.KStyleError as error:
        print(error, flush=True)
        os._exit(1)
    os._exit(0)


def lives(live, kills, draw):
    """How `kills` + 1 lives, each begun when the one before it is over, have ended: exit codes. `live(deadly)` is one,
    `deadly` drawn by `draw()`, of the last 0."""
    ended = []
    for number in range(kills + 1):
        deadly = draw() if number < kills else 0
        child = os.fork()
        if not child:
            live(deadly)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return ended
