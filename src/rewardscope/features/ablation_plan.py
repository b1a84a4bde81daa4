"""Which sets of features are changed together, with the random sets that are their controls, and
what that does to all measures.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rewardscope.errors import MissingInput
from rewardscope.features.ablation import Ablation, Features, StepScores, mean_facts, twins
from rewardscope.features.ablation_table import AblationRow, FeatureFact, Kind
from rewardscope.features.edit_names import FeatureEdit
from rewardscope.features.firing_of_solutions import CATEGORIES, facts_of, fired_solutions
from rewardscope.features.matching import matched_sets
from rewardscope.interventions import edits
from rewardscope.interventions.against import Against, against_controls
from rewardscope.interventions.outcomes import Known, Measure, Outcomes
from rewardscope.interventions.run import Intervention, Variant, scores_from
from rewardscope.models.sites import Site, StateChange
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Estimate
from rewardscope.sae.measure.reward_kept import Solution
from rewardscope.sae.model.inference import Sae
from rewardscope.statistics.effects import Effect, Place, measured_effect
from rewardscope.statistics.measures import Measured

_ALL = "all chosen"
_NO_OP, _EVERYTHING, _ERROR = "no-op", "all features ablated", "error term and decoder bias alone"


class Group(NamedTuple):
    """Features that are changed together, and their controls, one a draw."""

    kind: Kind
    name: str
    features: Features
    controls: list[Features]


class Plan:
    """Sees what fires in solutions, chooses sets and controls, and measures them.

    `saes` are the SAE and, as a baseline, another one of the layer.
    """

    def __init__(
        self,
        scorer: HfScorer,
        saes: Sequence[Sae],
        solutions: Sequence[Solution],
        *,
        edit: FeatureEdit,
        threshold: float,
        aggregate: Callable[[Sequence[float]], float],
        seed: int,
    ) -> None:
        self._scorer, self._saes, self._solutions = scorer, saes, solutions
        self._edit, self._threshold, self._aggregate = edit, threshold, aggregate
        self._seed = seed
        self._fired = fired_solutions(scorer, saes, solutions)
        self._facts = facts_of(scorer, saes[0], solutions, self._fired[0])
        self.categories = [CATEGORIES[code] for code in self._facts.category_F.tolist()]
        self.chosen: Features = ()
        self._groups: list[Group] = []
        self._known = [Known(s.problem, s.right, s.correct) for s in solutions]

    def choose(self, chosen: Sequence[int], *, singles: int, n_controls: int) -> int:
        """Make the sets of the chosen features; return how many of these fire nowhere.

        Raises: MissingInput where none fires.
        """
        self.chosen = tuple(f for f in chosen if self._facts.rate_F[f] > 0)
        if not self.chosen:
            raise MissingInput(
                f"none of the {len(chosen)} chosen features fires in these solutions; choose"
                " others, or give other solutions"
            )
        sets: list[tuple[Kind, str, Features]] = [
            ("feature", str(feature), (feature,)) for feature in self.chosen[:singles]
        ]
        if len(self.chosen) > 1 or not sets:
            sets.append(("set", _ALL, self.chosen))
        for category in CATEGORIES:
            members = tuple(f for f in self.chosen if self.categories[f] == category)
            if 1 < len(members) < len(self.chosen):
                sets.append(("category", category, members))
        self._groups = [
            Group(
                kind,
                name,
                features,
                matched_sets(
                    self._facts, features, excluded=self.chosen, n_draws=n_controls, seed=self._seed
                ),
            )
            for kind, name, features in sets
        ]
        return len(chosen) - len(self.chosen)

    def _controls(self, features: Features, n_draws: int) -> list[Features]:
        return matched_sets(
            self._facts, features, excluded=self.chosen, n_draws=n_draws, seed=self._seed
        )

    def measure(self) -> tuple[list[AblationRow], list[Effect]]:
        """Return the rows of all sets, and their effects on the mean step score by problem."""
        ablation = self._ablation(0)
        sets = [s for group in self._groups for s in (group.features, *group.controls)]
        plain, scores = ablation.scores(sets, self._edit)
        outcomes = Outcomes(
            self._known,
            plain,
            threshold=self._threshold,
            aggregate=self._aggregate,
            seed=self._seed,
        )
        originals = outcomes.original()
        changes = {features: outcomes.changes(found) for features, found in scores.items()}
        rows = self._checks(outcomes, originals, plain, ablation)
        for family in self._families():
            rows += self._family(outcomes, originals, family, changes)
        effects = [
            effect for group in self._groups for effect in self._effects(group, outcomes, scores)
        ]
        if len(self._saes) > 1:
            more, effect = self._baseline(outcomes, originals, changes)
            rows, effects = rows + more, [*effects, effect]
        return rows, effects

    def feature_facts(self) -> list[FeatureFact]:
        """Return what is known of each feature that fires."""
        facts, chosen = self._facts, set(self.chosen)
        return [
            FeatureFact(
                layer=self._saes[0].layer,
                feature=feature,
                rate=float(facts.rate_F[feature]),
                norm=float(facts.norm_F[feature]),
                length=float(facts.length_F[feature]),
                category=self.categories[feature],
                chosen=feature in chosen,
            )
            for feature in facts.rate_F.nonzero()[0].tolist()
        ]

    def counts(self) -> dict[str, int | float]:
        """Return how much was measured, and the threshold."""
        labels = [label for one in self._known for label in one.right]
        counts = {"right_steps": labels.count(1), "wrong_steps": labels.count(0)}
        sizes = {"solutions": len(self._known), "steps": len(labels)}
        return sizes | counts | {"threshold": self._threshold}

    def _ablation(self, which: int) -> Ablation:
        return Ablation(
            self._scorer, self._saes[which], self._solutions, self._fired[which], seed=self._seed
        )

    def _families(self) -> list[list[Group]]:
        """Return the single features together, of which the best may be named; others alone."""
        single = [group for group in self._groups if group.kind == "feature"]
        alone = [[group] for group in self._groups if group.kind != "feature"]
        return [*([single] if single else []), *alone]

    def _family(
        self,
        outcomes: Outcomes,
        originals: dict[Measure, Estimate],
        family: Sequence[Group],
        changes: dict[Features, dict[Measure, Measured]],
    ) -> list[AblationRow]:
        rows: dict[str, list[AblationRow]] = {group.name: [] for group in family}
        for measure in outcomes.measures:
            found = against_controls(
                outcomes,
                measure,
                {group.name: changes[group.features][measure] for group in family},
                {group.name: [changes[c][measure] for c in group.controls] for group in family},
                seed=self._seed,
            )
            for group in family:
                row = self._row(group, measure, originals[measure].value, found[group.name])
                rows[group.name].append(row)
        return [row for own in rows.values() for row in own]

    def _row(self, group: Group, measure: Measure, original: float, found: Against) -> AblationRow:
        margin, facts = found.margin, self._facts
        of_own = group.kind in ("feature", "set", "category")
        return AblationRow(
            layer=self._saes[0].layer,
            kind=group.kind,
            name=group.name,
            n_features=len(group.features),
            edit=str(self._edit),
            measure=measure,
            original=original,
            change=found.change.value,
            low=found.change.low,
            high=found.change.high,
            n_problems=found.change.n,
            n_controls=found.n_controls,
            control=found.control,
            control_low=found.control_low,
            control_high=found.control_high,
            margin=margin and margin.value,
            margin_low=margin and margin.low,
            margin_high=margin and margin.high,
            chance=found.chance,
            of_many=found.chance_of_many,
            rate=mean_facts(facts.rate_F, [group.features]) if of_own else None,
            control_rate=mean_facts(facts.rate_F, group.controls),
            length=mean_facts(facts.length_F, [group.features]) if of_own else None,
            control_length=mean_facts(facts.length_F, group.controls),
            seed=self._seed,
        )

    def _checks(
        self,
        outcomes: Outcomes,
        originals: dict[Measure, Estimate],
        plain: StepScores,
        ablation: Ablation,
    ) -> list[AblationRow]:
        """Return the rows that show whether the edits are sound: hooks that change nothing, and all
        features ablated beside what is then left, by a way of its own.
        """
        sae = self._saes[0]
        everything = tuple(range(sae.n_features))
        _, ablated = ablation.scores([everything], FeatureEdit("ablate"))
        found = {
            _NO_OP: self._by_whole_passes(plain, edits.nothing()),
            _EVERYTHING: ablated[everything],
            _ERROR: self._by_whole_passes(
                plain, lambda x_ND: x_ND - sae.reconstruct(x_ND) + sae.b_dec_D.to(x_ND)
            ),
        }
        rows = []
        for name, scores in found.items():
            group = Group("check", name, () if name == _NO_OP else everything, [])
            changes = outcomes.changes(scores)
            for measure in outcomes.measures:
                change = outcomes.estimate(measure, changes[measure], seed=self._seed)
                rows.append(self._row(group, measure, originals[measure].value, Against(change, 0)))
        return rows

    def _by_whole_passes(self, plain: StepScores, change: StateChange) -> StepScores:
        """Return the scores under a change of the states of all solution tokens."""
        site = Site(self._saes[0].layer)
        variants = []
        for solution in self._solutions:
            positions = range(solution.start, solution.encoded.step_ends[-1] + 1)
            variants.append(Variant(solution.encoded, [Intervention(site, positions, change)]))
        return scores_from(self._scorer, variants, plain)

    def _baseline(
        self,
        outcomes: Outcomes,
        originals: dict[Measure, Estimate],
        changes: dict[Features, dict[Measure, Measured]],
    ) -> tuple[list[AblationRow], Effect]:
        """Return the rows of the same edit in the other SAE: of the features that are most like the
        chosen ones.
        """
        own = next((g.features for g in self._groups if g.kind == "set"), self._groups[0].features)
        n_others, n_tokens = self._saes[1].n_features, sum(one.n_tokens for one in self._fired[0])
        fired, theirs = self._fired
        alike = twins(fired, theirs, own, n_others=n_others, n_tokens=n_tokens)
        features = tuple(sorted(set(alike.values())))
        _, scores = self._ablation(1).scores([features], self._edit)
        found, rows = outcomes.changes(scores[features]), []
        group = Group("baseline", _ALL, features, [])
        for measure in outcomes.measures:
            lead = changes[own][measure] - found[measure]
            against = Against(
                outcomes.estimate(measure, found[measure], seed=self._seed),
                0,
                margin=outcomes.margin(measure, lead),
            )
            rows.append(self._row(group, measure, originals[measure].value, against))
        own_scores = scores[features]
        return rows, self._effect(group, outcomes, own_scores, str(self._edit), self._seed)

    def _effects(
        self, group: Group, outcomes: Outcomes, scores: dict[Features, StepScores]
    ) -> list[Effect]:
        """Return the effect of a set, and of its controls with the number of the draw as seed."""
        method = str(self._edit)
        controls = [
            self._effect(group, outcomes, scores[features], f"{method} control", number)
            for number, features in enumerate(group.controls)
        ]
        own = scores[group.features]
        return [self._effect(group, outcomes, own, method, self._seed), *controls]

    def _effect(
        self, group: Group, outcomes: Outcomes, scores: StepScores, method: str, seed: int
    ) -> Effect:
        site = str(Site(self._saes[0].layer))
        place = Place(f"{group.kind} {group.name}", site, "where it fires")
        return measured_effect(place, outcomes.by_problem(scores), method=method, seed=seed)
