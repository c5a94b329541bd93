"""Mistakes that are made on purpose, and the check that must convict each."""

import pytest


def registry():
    """(list of mistakes, decorator): ``@mistake(check, words)`` stands before a function that takes a monkeypatch and
    makes what its name says; then `check()` must fail with `words`."""
    mistakes = []

    def mistake(check, words):
        def register(function):
            mistakes.append(pytest.param(function, check, words, id=function.__name__))
            return function

        return register

    return mistakes, mistake


def convict(make, check, words, monkeypatch):
    """The right code passes the check, the wrong one fails with its words."""
    check()
    make(monkeypatch)
    with pytest.raises((AssertionError, RuntimeWarning), match=words):
        check()
