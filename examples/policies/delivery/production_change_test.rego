package delivery.production_change_test

import data.delivery.production_change

settings := {
	"time_zone": "Europe/Berlin",
	"environments": {
		"staging": {"approvals": 0},
		"production": {
			"approvals": 2,
			"approval_hours": 72,
			"emergency_approvers": ["Robin"],
			"windows": [{"days": ["Monday", "Tuesday"], "from": "09:00", "until": "16:00"}],
			"freezes": [{"from": "2026-12-18T00:00:00+01:00", "until": "2027-01-04T00:00:00+01:00", "reason": "holidays"}],
		},
	},
}

good := {
	"environment": "production",
	"requested_by": "alex",
	"approvals": [
		{"by": "kim", "at": "2026-03-01T18:00:00Z"},
		{"by": "sam", "at": "2026-03-02T07:00:00Z"},
	],
}

emergency := {
	"emergency": true,
	"approvals": [
		{"by": "kim", "at": "2026-03-01T18:00:00Z"},
		{"by": "robin", "at": "2026-03-02T07:00:00Z"},
	],
}

monday_morning := time.parse_rfc3339_ns("2026-03-02T08:00:00Z")

broken(changes) := broken_at(changes, "2026-03-02T08:00:00Z")

broken_at(changes, moment) := found if {
	found := {violation.rule_id: violation.severity | some violation in production_change.violations} with input as object.union(good, changes)
		with data.delivery.settings as settings
		with time.now_ns as time.parse_rfc3339_ns(moment)
}

broken_under(other_settings) := found if {
	found := {violation.rule_id | some violation in production_change.violations} with input as good
		with data.delivery.settings as other_settings
		with time.now_ns as monday_morning
}

test_a_good_change_is_allowed if {
	production_change.allow with input as good with data.delivery.settings as settings with time.now_ns as monday_morning
	broken({}) == {}
}

test_an_environment_without_conditions if broken({"environment": "staging", "approvals": []}) == {}

test_only_environments_that_exist if {
	broken({"environment": "moon"}) == {"environment": "CRITICAL"}
	broken({"environment": null}) == {"environment": "CRITICAL"}
}

test_two_people_must_approve if {
	broken({"approvals": [{"by": "kim", "at": "2026-03-01T18:00:00Z"}]}) == {"approvals": "CRITICAL"}
	broken({"approvals": null}) == {"approvals": "CRITICAL"}
}

test_nobody_counts_twice if {
	broken({"approvals": [
		{"by": "kim", "at": "2026-03-01T18:00:00Z"},
		{"by": "Kim", "at": "2026-03-01T19:00:00Z"},
		{"by": "", "at": "2026-03-01T19:00:00Z"},
	]}) == {"approvals": "CRITICAL"}
}

test_nobody_approves_their_own_change if {
	broken({"requested_by": "Kim"}) == {"approvals": "CRITICAL"}
	broken({"requested_by": null}) == {"approvals": "CRITICAL"}
}

test_an_approval_of_tomorrow_is_none if {
	broken_at({}, "2026-03-02T06:59:59Z") == {"approvals": "CRITICAL", "change-window": "HIGH"}
}

test_approvals_grow_old if {
	broken_at({}, "2026-03-09T08:00:00Z") == {"approvals": "CRITICAL"}
	broken_at(
		{"approvals": [
			{"by": "kim", "at": "2026-03-03T18:00:00Z"},
			{"by": "sam", "at": "yesterday"},
		]},
		"2026-03-02T08:00:00Z",
	) == {"approvals": "CRITICAL"}
}

test_windows_are_of_the_time_zone if {
	broken_at({}, "2026-03-02T07:59:59Z") == {"change-window": "HIGH"}
	broken_at({}, "2026-03-02T14:59:59Z") == {}
	broken_at({}, "2026-03-02T15:00:00Z") == {"change-window": "HIGH"}
	broken_at({}, "2026-03-04T08:00:00Z") == {"change-window": "HIGH"}
}

test_freezes if {
	late := {"approvals": [
		{"by": "kim", "at": "2026-12-20T18:00:00Z"},
		{"by": "sam", "at": "2026-12-20T18:00:00Z"},
	]}
	broken_at(late, "2026-12-21T08:00:00Z") == {"freeze": "HIGH"}
	some violation in production_change.violations with input as object.union(good, late)
		with data.delivery.settings as settings
		with time.now_ns as time.parse_rfc3339_ns("2026-12-21T08:00:00Z")
	violation.message == "changes are frozen: holidays"
	broken_at(
		{"approvals": [
			{"by": "kim", "at": "2027-01-03T18:00:00Z"},
			{"by": "sam", "at": "2027-01-03T18:00:00Z"},
		]},
		"2027-01-04T08:00:00Z",
	) == {}
}

test_an_approved_emergency_may_ignore_the_time if {
	broken_at(emergency, "2026-03-02T20:00:00Z") == {"change-window": "MEDIUM"}
	production_change.allow with input as object.union(good, emergency)
		with data.delivery.settings as settings
		with time.now_ns as time.parse_rfc3339_ns("2026-03-02T20:00:00Z")
}

test_an_emergency_that_nobody_approved if {
	broken_at({"emergency": true}, "2026-03-02T20:00:00Z") == {"change-window": "HIGH", "emergency": "CRITICAL"}
	broken_at(object.union(emergency, {"emergency": "true"}), "2026-03-02T08:00:00Z") == {"emergency": "CRITICAL"}
}

test_settings_that_cannot_be_read_open_nothing if {
	broken_under(object.union(settings, {"time_zone": "Europe/Nowhere"})) == {"change-window"}

	unreadable := {"environments": {"production": {"freezes": [{"from": "soon", "until": "later"}]}}}
	broken_under(object.union(settings, unreadable)) == {"freeze"}

	every name in ["approvals", "approval_hours"] {
		incomplete := object.remove(settings.environments.production, [name])
		broken_under({"environments": {"production": incomplete}, "time_zone": "Europe/Berlin"}) == {"approvals"}
	}
	broken_under({}) == {"environment"}
}

test_every_violation_says_what_and_where if {
	found := production_change.violations with input as {"environment": "production", "emergency": true}
		with data.delivery.settings as settings
		with time.now_ns as time.parse_rfc3339_ns("2026-12-20T08:00:00Z")
	every violation in found {
		count(violation.message) > 20
	}
	{violation.rule_id: violation.resource | some violation in found} == {
		"approvals": "production",
		"emergency": "production",
		"change-window": "production",
		"freeze": "production",
	}
	unknown := production_change.violations with input as {} with data.delivery.settings as settings
	{[violation.rule_id, violation.resource] | some violation in unknown} == {["environment", "none named"]}
}

test_no_object_is_denied if {
	every value in [null, true, 5, "text", [good], {}] {
		production_change.allow == false with input as value
			with data.delivery.settings as settings
			with time.now_ns as monday_morning
	}
}
