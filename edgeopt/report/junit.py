"""JUnit's XML, which every CI system shows: one test case for each model, or each condition on it.

Source: the schema that Jenkins' xunit plug-in and GitLab document (testsuites, testsuite, testcase, failure,
error, properties).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgeopt.core.errors import ConfigError, EdgeoptError
from edgeopt.core.files import write_atomically
from edgeopt.report.figures import latency, percent


def require_place(path: Path) -> None:
    """Check that the file can be written, before anything is measured for it.

    Raises:
        ConfigError: It cannot.
    """
    folder = path.absolute().parent
    wrong = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        wrong = f"{folder} cannot be made: {error.strerror or error}"
    if wrong is None and path.is_dir():
        wrong = "it is a folder"
    elif wrong is None and not os.access(folder, os.W_OK | os.X_OK):
        wrong = f"{folder} is not writable"
    if wrong:
        raise ConfigError(
            f"--junit {path} cannot be written: {wrong}", hint="name a file in a folder that you may write to"
        )


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write an answer of `measure` as JUnit's XML.

    A regression and a model that does not run are a failure; what is undecided is an error: CI shows both as
    not passed, and tells them apart.

    Raises:
        EdgeoptError: It cannot be written.
    """
    about = {name: document.get(name) for name in ("device", "board", "provenance")}
    gate = document.get("gate")
    cases = [_check(check) for check in gate["checks"]] if gate else []
    cases += [] if gate else [_row(row) for row in document["measurements"]]
    _write(path, cases, about)


def write_failed(path: Path, names: Sequence[str], error: EdgeoptError) -> None:
    """Write that nothing could be measured, and why: an error for every model."""
    _write(path, [_case(name, "measure", error=(error.kind, error.message)) for name in names], {})


def _check(check: Mapping[str, Any]) -> ElementTree.Element:
    said = explained(check)
    allowed = f"{check['figure']}>+{100 * check['allowed']:g}%"
    wrong = {"worse": "failure", "undecided": "error"}.get(check["verdict"])
    return _case(check["name"], allowed, **({wrong: (check["verdict"], said)} if wrong else {}), out=said)


def explained(check: Mapping[str, Any]) -> str:
    """What came of one check, in words."""
    ends, reason = check["ci95"], check["reason"]
    grown = f"{check['figure']} of {check['name']}"
    if check["growth"] is not None:
        grown += f" {percent(check['growth'])}"
    if ends and ends[0] != ends[1]:
        grown += f" (95 %: {percent(ends[0])} to {percent(ends[1])})"
    allowed = f"{100 * check['allowed']:g} % allowed"
    return f"{check['verdict']}: {grown}, {allowed}" + (f"; {reason}" if reason else "")


def _row(row: Mapping[str, Any]) -> ElementTree.Element:
    if row["state"] == "COMPLETE":
        return _case(row["name"], "measure", out=f"p50 {latency(row)}")
    return _case(row["name"], "measure", failure=(row["state"], str(row["reason"])))


def _case(
    model: str,
    name: str,
    failure: tuple[str, str] | None = None,
    error: tuple[str, str] | None = None,
    out: str | None = None,
) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_plain(model), name=_plain(name))
    for tag, said in (("failure", failure), ("error", error)):
        if said:
            ElementTree.SubElement(case, tag, type=said[0], message=_plain(said[1]))
    if out is not None:
        ElementTree.SubElement(case, "system-out").text = _plain(out)
    return case


def _write(path: Path, cases: Sequence[ElementTree.Element], about: Mapping[str, Any]) -> None:
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
    }
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "edgeopt measure", **counts})
    if about:
        properties = ElementTree.SubElement(suite, "properties")
        for name, known in about.items():
            ElementTree.SubElement(properties, "property", name=name, value=_plain(str(known)))
    suite.extend(cases)
    ElementTree.indent(suites)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n")


def _plain(text: str) -> str:
    """Without the control characters that XML has no way to write: a runtime's message may have them."""
    return "".join(c if c in "\t\n" or c >= " " else "�" for c in text)
