# The sample policy: of the demo, of compose.yaml, and of `worker-agents submit --sample validate-policy`.
# `import rego.v1` makes it the same for OPA 0.59 and later and for 1.x.
package release

import rego.v1

default allow := false

allow if count(violations) == 0

violations contains {
	"rule_id": "approved",
	"severity": "HIGH",
	"resource": object.get(input, "service", "unnamed"),
	"message": "nobody has approved this release",
} if {
	object.get(input, "approved_by", "") == ""
}

violations contains {
	"rule_id": "image-tag",
	"severity": "MEDIUM",
	"resource": object.get(input, "service", "unnamed"),
	"message": "the image must have a tag of its own, not latest",
} if {
	not regex.match(`:[^:/]+$`, object.get(input, "image", ""))
}

violations contains {
	"rule_id": "image-tag",
	"severity": "MEDIUM",
	"resource": object.get(input, "service", "unnamed"),
	"message": "the image must have a tag of its own, not latest",
} if {
	endswith(object.get(input, "image", ""), ":latest")
}
