"""What a person is told stands on standard error, under the name of who tells it."""

from gangue.transforms import log


def test_what_is_said_once_is_said_once_for_each_who_says_it(capsys):
    for who in ("a stage", "a stage", "another"):
        log.say_once(who, "a line of test_log")
        log.say(who, "each time")
    told = capsys.readouterr()
    assert not told.out
    assert told.err.splitlines() == [
        "a stage: a line of test_log",
        "a stage: each time",
        "a stage: each time",
        "another: a line of test_log",
        "another: each time",
    ]
