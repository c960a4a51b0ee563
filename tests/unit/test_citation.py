"""What a stranger needs to use and cite the project: licence, citation, version, continuous checks."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from __about__ import __version__

PROJECT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
PAPERS = {  # what stands for a paper in its title, and its year
    "VAST:": 2021,
    "StarCraft Multi-Agent Challenge": 2019,
    "Independent versus Cooperative Agents": 1993,
    "Value-Decomposition Networks": 2018,
    "QMIX: Monotonic": 2018,
    "QTRAN:": 2019,
    "Counterfactual": 2018,
    "Weighted QMIX:": 2020,
}


def test_citation_has_what_its_format_asks_for():
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert CITATION["message"] and CITATION["title"].startswith("pymarl-vast") and CITATION["authors"]
    assert isinstance(CITATION["date-released"], date)


def test_citation_has_the_version_of_the_program():
    assert CITATION["version"] == __version__


def test_citation_has_the_papers_behind_the_algorithms():
    references = CITATION["references"]
    for part, year in PAPERS.items():
        found = [reference for reference in references if part in reference["title"]]
        assert [reference["year"] for reference in found] == [year], part


@pytest.mark.parametrize("reference", CITATION["references"], ids=lambda reference: reference["title"][:30])
def test_each_reference_is_complete(reference):
    assert reference["type"] == "conference-paper" and reference["collection-title"]
    assert 1993 <= reference["year"] <= 2026 and reference.get("start", 0) <= reference.get("end", 0)
    assert reference["authors"]
    assert all(author["family-names"] and author["given-names"] for author in reference["authors"])


def test_licence_is_the_one_that_the_citation_names():
    text = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    assert CITATION["license"] == "Apache-2.0"
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
    assert "The pymarl-vast authors" in text and "[name of copyright owner]" not in text


def test_continuous_checks_are_those_of_the_repository():
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (python,) = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert python["python-version"] == "3.11" and (PROJECT / ".ci" / "run").stat().st_mode & 0o100
