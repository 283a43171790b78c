"""Whether a new version does harm, judged beside the old one while both serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.common.criteria import (
    DEFAULT_ALPHA,
    Criteria,
    Finding,
    Measure,
    PassRule,
    Verdict,
)
from services.common.slice_sketches import MAX_SLICE_VALUES
from services.monitor.core.names import id_of
from services.monitor.core.sequential import (
    Bounds,
    is_above,
    mean_difference,
    share_difference,
)
from services.monitor.core.stream.trials import Tally, Trial, VersionRecord

REPORTED_SLICES: Final = 2
"""Of each measure, those nearest to a FAIL."""

_SAME_SCORE_ROWS: Final = 50
_MILLION: Final = 1_000_000
_SHARES: Final = frozenset({Measure.FAILED_SHARE, Measure.SLOW_SHARE})
_WORDS: Final[Mapping[Measure, tuple[str, str]]] = {
    Measure.FAILED_SHARE: ("The share of failed requests", "requests"),
    Measure.SLOW_SHARE: ("The share of slow requests", "requests"),
    Measure.MEAN_SCORE: ("The mean score", "predictions"),
    Measure.LOG_LOSS: ("The log loss", "outcomes"),
    Measure.BRIER: ("The Brier score", "outcomes"),
    Measure.WRONG_SHARE: ("The share of wrong decisions", "outcomes"),
}


@dataclass(frozen=True, slots=True)
class RolloutVerdict:
    """A verdict, its sentence, its numbers and the tests that it rests on."""

    verdict: Verdict
    reason: str
    numbers: Mapping[str, float]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """One measure in one slice.

    Attributes:
        alpha: Its share of the phase's.
    """

    measure: Measure
    slice: tuple[str, str]
    tolerance: float
    alpha: float
    candidate: Tally
    champion: Tally

    def harm(self) -> float:
        """How far the estimate is beyond the tolerance; above 0 it is."""
        new, old = self._values()
        effect = abs(new - old) if self.measure is Measure.MEAN_SCORE else new - old
        return effect - self.tolerance

    def verdict(self) -> Verdict:
        """Whether harm beyond the tolerance is proven, excluded, or neither."""
        if self.measure in _SHARES:
            new, old = self.candidate.share(self.measure), self.champion.share(self.measure)
            proven = is_above(new, old, self.tolerance, self.alpha)
            excluded = not proven and is_above(old, new, -self.tolerance, self.alpha)
        else:
            bounds = self.bounds()
            proven = bounds is not None and self._is_harm(bounds)
            excluded = bounds is not None and not proven and self._is_harmless(bounds)
        return Verdict.FAIL if proven else Verdict.PASS if excluded else Verdict.INCONCLUSIVE

    def bounds(self) -> Bounds | None:
        """Of the effect."""
        if self.measure in _SHARES:
            shares = self.candidate.share(self.measure), self.champion.share(self.measure)
            return share_difference(*shares, self.alpha)
        # Of the score, either bound may prove a shift: they share the alpha.
        sides = 2 if self.measure is Measure.MEAN_SCORE else 1
        return mean_difference(
            self.candidate.sums(self.measure).mean(),
            self.champion.sums(self.measure).mean(),
            self.alpha / sides,
        )

    def sizes(self) -> tuple[int, int]:
        """Requests, predictions or outcomes of the new version and of the old one."""
        if self.measure in _SHARES:
            return self.candidate.share(self.measure).n, self.champion.share(self.measure).n
        return self.candidate.sums(self.measure).rows, self.champion.sums(self.measure).rows

    def finding(self) -> Finding:
        """What it found, with its bounds."""
        bounds = self.bounds()
        verdict = self.verdict()
        (new, old), (new_n, old_n) = self._values(), self.sizes()
        return Finding(
            measure=self.measure,
            slice_feature=self.slice[0],
            slice_value=self.slice[1],
            candidate_n=new_n,
            champion_n=old_n,
            candidate_value=new,
            champion_value=old,
            effect=new - old,
            lower=None if bounds is None else bounds.lower,
            upper=None if bounds is None else bounds.upper,
            tolerance=self.tolerance,
            alpha=self.alpha,
            verdict=verdict,
            reason=self._sentence(bounds, verdict),
        )

    def _is_harm(self, bounds: Bounds) -> bool:
        falls = self.measure is Measure.MEAN_SCORE and bounds.upper < -self.tolerance
        return bounds.lower > self.tolerance or falls

    def _is_harmless(self, bounds: Bounds) -> bool:
        falls = self.measure is Measure.MEAN_SCORE and bounds.lower <= -self.tolerance
        return bounds.upper < self.tolerance and not falls

    def _values(self) -> tuple[float, float]:
        if self.measure in _SHARES:
            shares = self.candidate.share(self.measure), self.champion.share(self.measure)
            new, old = (share.hits / share.n if share.n else 0.0 for share in shares)
            return new, old
        return (
            self.candidate.sums(self.measure).mean().value,
            self.champion.sums(self.measure).mean().value,
        )

    def _sentence(self, bounds: Bounds | None, verdict: Verdict) -> str:
        what, unit = _WORDS[self.measure]
        where = f" where {self.slice[0]} is {self.slice[1]}" if self.slice[0] else ""
        (new, old), (new_n, old_n) = self._values(), self.sizes()
        interval = (
            "no interval yet"
            if bounds is None
            else f"always-valid interval {bounds.lower:+.4f} to {bounds.upper:+.4f}"
        )
        end = {
            Verdict.FAIL: f"more than the {self.tolerance:g} that is tolerated",
            Verdict.PASS: f"more than {self.tolerance:g} is excluded",
            Verdict.INCONCLUSIVE: f"more than {self.tolerance:g} is neither proven nor excluded",
        }[verdict]
        return (
            f"{what}{where} is {new:.4f} over {new_n:,} {unit} of the new version and {old:.4f} "
            f"over {old_n:,} of the old one, {new - old:+.4f} ({interval}): {end}."
        )


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What the tests come to, before it is put into words.

    Attributes:
        overall: Tests over all requests.
        in_slices: The others.
        failed: Those of either that prove harm.
        missing: What the minimum sample lacks; empty if nothing.
        unpassed: The first test over all requests that does not pass; None if all do.
    """

    overall: list[_Test]
    in_slices: list[_Test]
    failed: list[_Test]
    missing: str
    unpassed: _Test | None

    @property
    def verdict(self) -> Verdict:
        if self.failed:
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE if self.missing or self.unpassed else Verdict.PASS


def verdict_on(
    trial: Trial, criteria: Criteria, *, min_outcomes: int, alone: bool = False
) -> Verdict:
    """The verdict that `judge_rollout` gives, without its words and intervals: much cheaper."""
    if _unusable(trial.candidate):
        return Verdict.FAIL
    if alone:
        missing = _missing(trial.candidate, criteria, min_outcomes)
        return Verdict.INCONCLUSIVE if missing else Verdict.PASS
    return _ruling(trial, criteria, min_outcomes).verdict


def judge_rollout(
    trial: Trial, criteria: Criteria, *, min_outcomes: int, alone: bool = False
) -> RolloutVerdict:
    """What the evidence says so far; it may be asked for after every request.

    FAIL: the scores are not usable, or some test proves harm beyond what is tolerated. The tests
    split alpha before any evidence is seen: half to those over all requests and half to the
    slices, or all of it where no slice is declared; then equally over the measures; then over
    every slice that there can be (Bonferroni), so that a version without harm beyond what is
    tolerated fails with a chance of at most alpha, however many looks are taken. PASS: the
    minimum sample is there, and passes as the criteria's rule says. Otherwise INCONCLUSIVE.

    Args:
        trial: What both versions did.
        criteria: What is tested and tolerated.
        min_outcomes: Outcomes of either version that a PASS needs.
        alone: Whether the new version has all the traffic, so that there is no other to compare
            it with: enough evidence of it then suffices.
    """
    numbers = {
        **_numbers("candidate", trial.candidate),
        **_numbers("champion", trial.champion),
        "alpha": _alpha(criteria),
    }
    verdict = verdict_on(trial, criteria, min_outcomes=min_outcomes, alone=alone)
    fault = _unusable(trial.candidate)
    if fault:
        return RolloutVerdict(verdict, fault, numbers)
    if alone:
        missing = _missing(trial.candidate, criteria, min_outcomes)
        words = missing or "nothing to compare with any more, and nothing against it."
        return RolloutVerdict(verdict, f"The new version alone: {words}", numbers)
    ruling = _ruling(trial, criteria, min_outcomes)
    findings = tuple(test.finding() for test in _reported(ruling))
    if ruling.failed:
        reason = next(each.reason for each in findings if each.verdict is Verdict.FAIL)
    elif ruling.missing:
        reason = f"Too early to tell: {ruling.missing}"
    elif ruling.unpassed is not None:
        reason = f"Too early to tell. {ruling.unpassed.finding().reason}"
    else:
        reason = _passed(findings, criteria)
    return RolloutVerdict(verdict, reason, numbers, findings)


def in_breach(objective: str, summary: str) -> RolloutVerdict:
    """The verdict where an objective of the endpoint pages since the phase began: FAIL.

    Args:
        objective: By resource name.
        summary: How fast its budget burns.
    """
    reason = f"The objective {id_of(objective)} pages since the phase began: {summary}"
    return RolloutVerdict(Verdict.FAIL, reason, {})


def _ruling(trial: Trial, criteria: Criteria, min_outcomes: int) -> _Ruling:
    overall, in_slices = list(_tests(trial, criteria)), list(_slice_tests(trial, criteria))
    tests = (*overall, *in_slices)
    return _Ruling(
        overall,
        in_slices,
        failed=[test for test in tests if test.harm() > 0 and test.verdict() is Verdict.FAIL],
        missing=_missing(trial.candidate, criteria, min_outcomes)
        or _missing(trial.champion, criteria, min_outcomes),
        unpassed=next((test for test in overall if not _passes(test, criteria)), None),
    )


def _alpha(criteria: Criteria) -> float:
    return DEFAULT_ALPHA if criteria.alpha is None else criteria.alpha


def _tests(trial: Trial, criteria: Criteria) -> Iterator[_Test]:
    """Over all requests, as far as there is evidence of both versions."""
    tolerances = criteria.tolerances()
    each = _alpha(criteria) / (2 if criteria.slices else 1) / len(tolerances)
    for measure, tolerance in tolerances.items():
        test = _Test(
            measure,
            ("", ""),
            tolerance,
            each,
            trial.candidate.overall,
            trial.champion.overall,
        )
        if all(test.sizes()):
            yield test


def _slice_tests(trial: Trial, criteria: Criteria) -> Iterator[_Test]:
    tolerances = criteria.tolerances()
    most = max(1, len(criteria.slices) * MAX_SLICE_VALUES)
    each = _alpha(criteria) / 2 / len(tolerances) / most
    for key in trial.slices:
        candidate, champion = trial.candidate.slices.get(key), trial.champion.slices.get(key)
        if candidate is None or champion is None:
            continue
        for measure, tolerance in tolerances.items():
            test = _Test(measure, key, tolerance, each, candidate, champion)
            if all(test.sizes()):
                yield test


def _reported(ruling: _Ruling) -> Iterator[_Test]:
    yield from ruling.overall
    told: dict[Measure, int] = {}
    order = sorted(ruling.in_slices, key=lambda test: (test not in ruling.failed, -test.harm()))
    for test in order:
        told[test.measure] = told.get(test.measure, 0) + 1
        if told[test.measure] <= REPORTED_SLICES:
            yield test


def _passes(test: _Test, criteria: Criteria) -> bool:
    if criteria.pass_rule is PassRule.HARM_EXCLUDED:
        return test.verdict() is Verdict.PASS
    return test.harm() <= 0


def _passed(findings: tuple[Finding, ...], criteria: Criteria) -> str:
    effects = ", ".join(
        f"{_WORDS[each.measure][0].removeprefix('The ')} {each.effect:+.4f}"
        for each in findings
        if not each.slice_feature
    )
    rule = "is excluded" if criteria.pass_rule is PassRule.HARM_EXCLUDED else "is seen"
    return f"No harm beyond what is tolerated {rule} in a sufficient sample: {effects}."


def _missing(record: VersionRecord, criteria: Criteria, min_outcomes: int) -> str:
    """What the minimum sample lacks of one version; empty if nothing."""
    outcomes, requests = record.overall.losses.rows, record.overall.requests
    # Somebody must have asked for no outcome at all, or there is no evidence whatever.
    asked = min_outcomes or (0 if criteria.min_requests else 1)
    if outcomes < asked:
        return f"{outcomes:,} outcomes are known of one version; {asked:,} are asked for."
    if requests < criteria.min_requests:
        asked = criteria.min_requests
        return f"{requests:,} requests reached one version; {asked:,} are asked for."
    return ""


def _unusable(record: VersionRecord) -> str:
    if record.lowest is None or record.highest is None:
        return ""
    if record.lowest < 0 or record.highest > _MILLION:
        return "Scores of the new version are no probabilities."
    rows = record.overall.scores.rows
    if rows >= _SAME_SCORE_ROWS and record.lowest == record.highest:
        return f"The new version gave the same score {rows:,} times."
    return ""


def _numbers(who: str, record: VersionRecord) -> dict[str, float]:
    tally = record.overall
    return {
        f"{who}_requests": float(tally.requests),
        f"{who}_failed": float(tally.failed),
        f"{who}_predictions": float(tally.scores.rows),
        f"{who}_outcomes": float(tally.losses.rows),
    }
