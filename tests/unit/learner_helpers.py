"""Doors to a learner's parts that several tests take: its loss, returns and policies' step for given sub-teams."""

from __future__ import annotations

from assigners.base import Assignment
from learners.division import NewEpisodes
from learners.mixer_inputs import Subteams


def grouping_of(learner, batch, subteams=None):
    """The grouping of given sub-teams [B, T, N], or of ones that the learner draws; agents where it has none."""
    if subteams is None:
        return learner.division.training_episodes(batch, None)[1]
    return Subteams(learner.mixer, subteams)


def value_loss(learner, batch, subteams=None):
    """Loss and statistics of the values of a batch, under given sub-teams or drawn ones."""
    return learner.values.loss(batch, grouping_of(learner, batch, subteams))


def returns_of(learner, batch, subteams, td_lambda):
    """TD(lambda) targets of the values as they are."""
    grouping = grouping_of(learner, batch, subteams)
    return learner.values.returns(batch, learner.values.of(batch), grouping, td_lambda)


def improve_policies(learner, batch, subteams=None):
    """One step of the policies on new episodes; its statistics."""
    policies = learner.policies.probabilities(batch, 0.0)
    new = NewEpisodes(batch, None if subteams is None else Assignment(subteams), policies, None)
    grouping = grouping_of(learner, batch, subteams)
    return learner.policies.improve(
        new,
        lambda: learner.values.detached(batch),
        lambda values: learner.values.returns(batch, values, grouping, learner.args.td_lambda),
    )
