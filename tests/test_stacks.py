"""Pins of the stacks against the ranges that they narrow."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.stacks import ROOT, pins_of_stacks, requirements

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
STACKS = pins_of_stacks(SETTINGS)


@pytest.mark.parametrize("stack", STACKS)
def test_the_pins_of_a_stack_lie_within_the_ranges(stack: str) -> None:
    libraries, tools = requirements(SETTINGS["project"])
    ranges = {canonicalize_name(wanted.name): wanted.specifier for wanted in map(Requirement, libraries + tools)}
    seen = 0
    for line in STACKS[stack]:
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            (version,) = (specifier.version for specifier in pin.specifier)
            if (name := canonicalize_name(pin.name)) in ranges:
                seen += 1
                assert ranges[name].contains(version), f"{pin} is outside of {ranges[name]}"
    assert seen == {"oldest": len(ranges), "pinned": len(ranges), "newest": 0}.get(stack, len(STACKS[stack]))
