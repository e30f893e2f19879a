"""One module for each thing that reads bytes from outside."""

from tests.fuzz.targets import (
    argocd,
    code_forge,
    commands,
    dead_letters,
    opa,
    parameters,
    reports,
    state_records,
    submissions,
    tickets,
    trivy_reports,
)

TARGETS = {
    module.TARGET.name: module.TARGET
    for module in (
        tickets,
        parameters,
        state_records,
        reports,
        trivy_reports,
        opa,
        code_forge,
        argocd,
        commands,
        submissions,
        dead_letters,
    )
}
