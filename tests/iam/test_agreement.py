"""The compiled policies decide as the plain evaluator does."""

import random
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.iam.naive import admits, allows, endorses
from tests.iam.random_policies import FAR, WORLD, far_policies, policies, random_question

from keystead.iam.policy.compile import PolicySource, compile_policies, decide_across
from keystead.iam.policy.conditions import Variables


def agree(sources: list[PolicySource], seed: int, requests: int) -> None:
    compiled = compile_policies(sources, WORLD)
    source = random.Random(seed)
    for _ in range(requests):
        question = random_question(source)
        decision = compiled.decide(question)
        assert decision.allowed == allows(WORLD, sources, question), (sources, question)
        told = [each for each in compiled.explain(question) if each.applies]
        assert decision.allowed == (any(not each.denies for each in told) and not any(each.denies for each in told)), (
            sources,
            question,
            told,
        )
        if not decision.allowed:
            assert decision.reasons


@given(policies(), st.integers(0, 2**32))
@settings(max_examples=80)
def test_compiled_and_plain_evaluation_agree(sources: list[PolicySource], seed: int) -> None:
    agree(sources, seed, 20)


def agree_across(sources: list[PolicySource], others: list[PolicySource], seed: int, requests: int) -> None:
    home, far = compile_policies(sources, WORLD), compile_policies(others, FAR)
    source = random.Random(seed)
    for _ in range(requests):
        question = random_question(source, far=True)
        out, in_ = endorses(WORLD, sources, question), admits(FAR, others, question)
        assert home.endorses(question).allowed == out, (sources, question)
        assert far.admits(question).allowed == in_, (others, question)
        assert decide_across(home, [far], question).allowed == (out and in_)
        for told, expected in ((home.explain(question, "endorse"), out), (far.explain(question, "admit"), in_)):
            applying = [each for each in told if each.applies]
            assert expected == (
                any(not each.denies for each in applying) and not any(each.denies for each in applying)
            ), (sources, others, question, told)


@given(policies(), far_policies(), st.integers(0, 2**32))
@settings(max_examples=50)
def test_they_agree_between_tenancies(sources: list[PolicySource], others: list[PolicySource], seed: int) -> None:
    agree_across(sources, others, seed, 20)


@pytest.mark.slow
@given(policies(), far_policies(), st.integers(0, 2**32))
@pytest.mark.timeout(900)
@settings(max_examples=500)
def test_they_agree_between_tenancies_on_fifty_thousand_requests(
    sources: list[PolicySource], others: list[PolicySource], seed: int
) -> None:
    agree_across(sources, others, seed, 100)


@pytest.mark.slow
@given(policies(), st.integers(0, 2**32))
@pytest.mark.timeout(600)
@settings(max_examples=500)
def test_compiled_and_plain_evaluation_agree_on_fifty_thousand_requests(sources: list[PolicySource], seed: int) -> None:
    agree(sources, seed, 100)


@given(policies(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_what_may_be_remembered_stays_true(sources: list[PolicySource], seed: int) -> None:
    """A decision that says it read nothing of the request is the same at any time of day."""
    compiled = compile_policies(sources, WORLD)
    source = random.Random(seed)
    for _ in range(20):
        question = random_question(source)
        first = compiled.decide(question)
        if first.reads_request:
            continue
        for moment in (None, "2026-03-02T10:30:00Z", "2026-11-30T23:00:00Z"):
            again = replace(question, variables=partial(at, moment, question.variables))
            assert compiled.decide(again).allowed == first.allowed


def at(moment: str | None, variables: Variables, name: str) -> str | tuple[str, ...] | None:
    return moment if name == "request.utc-timestamp" else variables(name)


def test_both_answers_occur() -> None:
    """The random world is not one where everything is refused."""
    source = random.Random(1)
    compiled = compile_policies(
        [PolicySource("p", "root", ("Allow group Admins to use keys in compartment Prod",))], WORLD
    )
    answers = {compiled.decide(random_question(source)).allowed for _ in range(500)}
    assert answers == {True, False}
