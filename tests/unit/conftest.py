"""How hypothesis runs in unit tests: no deadline, as the machine may be busy, and few enough examples to stay quick."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "unit",
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# A mutant must not live or die by chance: the same examples in every run, none remembered. That it died is enough: no shrinking.
settings.register_profile(
    "mutants",
    settings.get_profile("unit"),
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile("unit")
