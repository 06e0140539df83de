"""Profiles of hypothesis, shared by every test."""

from hypothesis import Phase, settings

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=30, phases=[Phase.explicit, Phase.generate]
)
settings.register_profile("dev", deadline=None, max_examples=30)
settings.load_profile("ci")
