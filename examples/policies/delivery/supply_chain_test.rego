package delivery.supply_chain_test

import data.delivery.supply_chain

settings := {"release_branches": ["main", "release/*"]}

good := {
	"success": true,
	"output": {
		"pipeline_id": "pipeline-7",
		"branch": "main",
		"commit_sha": "4f1c2d93e5a60b7c8d9e0f1a2b3c4d5e6f708192",
		"artifacts": [{"type": "image", "name": "billing"}],
		"sbom": {"format": "CycloneDX", "version": "1.5", "components": []},
		"signature": "MEUCIQ",
	},
	"metadata": {"simulated": false, "requires_review": false},
}

broken(changes) := found if {
	found := {violation.rule_id: violation.severity | some violation in supply_chain.violations} with data.delivery.settings as settings
		with input as object.union(good, changes)
}

broken_with(name, value) := found if {
	found := {violation.rule_id: violation.severity | some violation in supply_chain.violations} with data.delivery.settings as settings
		with input as object.union(object.remove(good, [name]), {name: value})
}

# Without the whole part of the result, or without fields of it.
without(name, []) := found if {
	found := {violation.rule_id: violation.severity | some violation in supply_chain.violations} with data.delivery.settings as settings
		with input as object.remove(good, [name])
}

without(name, fields) := broken_with(name, object.remove(good[name], fields)) if count(fields) > 0

test_a_good_build_is_allowed if {
	supply_chain.allow with input as good with data.delivery.settings as settings
	broken({}) == {}
}

test_only_builds_that_succeeded if {
	broken({"success": false}) == {"build-failed": "CRITICAL"}
	broken({"success": "true"}) == {"build-failed": "CRITICAL"}
	without("success", []) == {"build-failed": "CRITICAL"}
}

test_no_simulated_builds if {
	broken({"metadata": {"simulated": true}}) == {"build-simulated": "CRITICAL"}
	broken({"metadata": {"simulated": null}}) == {"build-simulated": "CRITICAL"}
	without("metadata", ["simulated"]) == {"build-simulated": "CRITICAL"}
	without("metadata", []) == {"build-simulated": "CRITICAL"}
}

test_a_review_that_is_wanted if broken({"metadata": {"requires_review": true}}) == {"review": "HIGH"}

test_artifacts_bill_of_materials_and_signature if {
	every name in ["artifacts", "sbom", "signature"] {
		every missing in [null, "", [], {}, 7] {
			broken_with("output", object.union(object.remove(good.output, [name]), {name: missing})) == {name: "HIGH"}
		}
		without("output", [name]) == {name: "HIGH"}
	}
}

test_only_branches_that_are_released if {
	broken({"output": {"branch": "release/2026.3"}}) == {}
	broken({"output": {"branch": "release/2026/3"}}) == {"branch": "HIGH"}
	broken({"output": {"branch": "main2"}}) == {"branch": "HIGH"}
	broken({"output": {"branch": null}}) == {"branch": "HIGH"}
	without("output", ["branch"]) == {"branch": "HIGH"}
}

test_an_abbreviated_commit_is_a_warning if {
	abbreviated := {"output": {"commit_sha": "4f1c2d9"}}
	broken(abbreviated) == {"commit": "LOW"}
	supply_chain.allow with input as object.union(good, abbreviated) with data.delivery.settings as settings
}

test_every_violation_says_what_and_where if {
	bad := {"output": {"pipeline_id": "pipeline-7", "branch": "mine"}, "metadata": {"requires_review": true}}
	found := supply_chain.violations with input as bad with data.delivery.settings as settings
	every violation in found {
		count(violation.message) > 15
	}
	{violation.rule_id: violation.resource | some violation in found} == {
		"build-failed": "pipeline-7",
		"build-simulated": "pipeline-7",
		"review": "pipeline-7",
		"artifacts": "pipeline-7",
		"sbom": "pipeline-7",
		"signature": "pipeline-7",
		"branch": "mine",
		"commit": "none named",
	}
}

test_nothing_is_denied if {
	every value in [null, true, 5, "text", [good], {}] {
		supply_chain.allow == false with input as value with data.delivery.settings as settings
	}
}

test_without_settings_everything_is_denied if {
	not supply_chain.allow with input as good with data.delivery.settings as {}
}
