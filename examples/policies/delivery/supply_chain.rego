# METADATA
# title: May this build be released?
# description: The input is the result of the BUILD ticket, as its record in execution.results has it.
package delivery.supply_chain

import data.delivery.settings
import data.delivery.verdict

default allow := false

allow if verdict.passes(violations)

violations contains verdict.malformed if not is_object(input)

violations contains {
	"rule_id": "build-failed",
	"severity": "CRITICAL",
	"message": "the build did not succeed",
	"resource": _pipeline(input),
} if {
	not input.success == true
}

# A worker whose Code Forge is away may answer with a result that nothing was built for.
violations contains {
	"rule_id": "build-simulated",
	"severity": "CRITICAL",
	"message": "the build was simulated, or does not say that it was not",
	"resource": _pipeline(input),
} if {
	not input.metadata.simulated == false
}

violations contains {
	"rule_id": "review",
	"severity": "HIGH",
	"message": "the pipeline wants a review",
	"resource": _pipeline(input),
} if {
	input.metadata.requires_review == true
}

violations contains {
	"rule_id": name,
	"severity": "HIGH",
	"message": sprintf("the build has no %s", [description]),
	"resource": _pipeline(input),
} if {
	some name, description in {"artifacts": "artifacts", "sbom": "bill of materials", "signature": "signature"}
	not _present(name)
}

violations contains {
	"rule_id": "branch",
	"severity": "HIGH",
	"message": "builds of this branch are not released",
	"resource": branch,
} if {
	branch := object.get(input, ["output", "branch"], "none named")
	not _is_released(branch)
}

# A warning: an abbreviated commit may name two of them one day.
violations contains {
	"rule_id": "commit",
	"severity": "LOW",
	"message": "the commit is not named in full",
	"resource": commit,
} if {
	commit := object.get(input, ["output", "commit_sha"], "none named")
	not regex.match(`^([0-9a-f]{40}|[0-9a-f]{64})$`, commit)
}

_pipeline(result) := object.get(result, ["output", "pipeline_id"], "unknown")

_present(name) if {
	count(input.output[name]) > 0
}

_is_released(branch) if {
	some pattern in settings.release_branches
	glob.match(pattern, ["/"], branch)
}
