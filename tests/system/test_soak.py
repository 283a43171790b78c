"""Every named proof can be loaded and parses its defaults."""

from __future__ import annotations

import argparse
from importlib import import_module

import pytest

from tests.system.soak import PROOFS


@pytest.mark.parametrize("module", PROOFS.values())
def test_a_named_proof_declares_arguments_that_all_have_defaults(module):
    proof = import_module(module)
    parser = argparse.ArgumentParser()
    proof.add_arguments(parser)
    parser.parse_args([])
    assert proof.__doc__, "its help would say nothing"
    assert callable(proof.prove)
