# METADATA
# title: What the policies of delivery have in common
package delivery.verdict

# No rule can say anything of an input that is no object: without this violation, none would be found.
malformed := {
	"rule_id": "input",
	"severity": "CRITICAL",
	"message": "the input is no object",
}

# Violations of these severities speak against what is asked for. The others are warnings.
passes(violations) if {
	every violation in violations {
		not violation.severity in {"CRITICAL", "HIGH"}
	}
}
