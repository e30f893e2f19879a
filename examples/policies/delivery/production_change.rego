# METADATA
# title: May this environment be changed now?
# description: |
#   The input names the environment, who asks for the change, and who approved it and when. An emergency may ignore
#   windows and freezes if one of those approved it who may.
package delivery.production_change

import data.delivery.calendar
import data.delivery.settings
import data.delivery.verdict

default allow := false

allow if verdict.passes(violations)

violations contains verdict.malformed if not is_object(input)

violations contains {
	"rule_id": "environment",
	"severity": "CRITICAL",
	"message": "there is no such environment",
	"resource": environment,
} if {
	environment := object.get(input, "environment", "none named")
	not settings.environments[environment]
}

violations contains {
	"rule_id": "approvals",
	"severity": "CRITICAL",
	"message": "too few people approved it lately, not counting who asks for it",
	"resource": input.environment,
} if {
	rules := settings.environments[input.environment]
	not _is_approved(rules)
}

violations contains {
	"rule_id": "emergency",
	"severity": "CRITICAL",
	"message": "nobody approved it who may approve an emergency",
	"resource": input.environment,
} if {
	input.emergency
	rules := settings.environments[input.environment]
	not _is_approved_emergency(rules)
}

violations contains {
	"rule_id": "change-window",
	"severity": _severity(rules),
	"message": "this is outside of every change window",
	"resource": input.environment,
} if {
	rules := settings.environments[input.environment]
	rules.windows
	not calendar.inside_any(rules.windows)
}

violations contains {
	"rule_id": "freeze",
	"severity": _severity(rules),
	"message": sprintf("changes are frozen: %v", [object.get(freeze, "reason", "no reason given")]),
	"resource": input.environment,
} if {
	rules := settings.environments[input.environment]
	some freeze in rules.freezes
	not calendar.outside(freeze)
}

# Whoever asks for a change does not approve it, and whoever approves twice counts once.
_approvers(rules) := {lower(approval.by) |
	some approval in input.approvals
	approval.by != ""
	lower(approval.by) != lower(input.requested_by)
	calendar.in_the_last_hours(approval.at, rules.approval_hours)
}

_is_approved(rules) if count(_approvers(rules)) >= rules.approvals

_is_approved_emergency(rules) if {
	input.emergency == true
	some approver in rules.emergency_approvers
	lower(approver) in _approvers(rules)
}

_severity(rules) := "MEDIUM" if {
	_is_approved_emergency(rules)
} else := "HIGH"
