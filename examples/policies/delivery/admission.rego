# METADATA
# title: May this be deployed?
# description: The input is the parameters of the DEPLOY ticket that is to follow.
package delivery.admission

import data.delivery.settings
import data.delivery.verdict

default allow := false

allow if verdict.passes(violations)

violations contains verdict.malformed if not is_object(input)

violations contains {
	"rule_id": "image-registry",
	"severity": "CRITICAL",
	"message": "the image comes from no allowed registry",
	"resource": image,
} if {
	image := _parameter("image")
	not _from_allowed_registry(image)
}

# A tag can be moved after its image was tested; a digest cannot.
violations contains {
	"rule_id": "image-digest",
	"severity": "HIGH",
	"message": "the image is not named by its digest, as in name@sha256:...",
	"resource": image,
} if {
	image := _parameter("image")
	not regex.match(`@sha256:[0-9a-f]{64}$`, image)
}

violations contains {
	"rule_id": "project",
	"severity": "CRITICAL",
	"message": "there is no such project",
	"resource": project,
} if {
	project := _parameter("project")
	not settings.projects[project]
}

violations contains {
	"rule_id": parameter,
	"severity": "CRITICAL",
	"message": sprintf("not among the %s of the project", [allowed]),
	"resource": value,
} if {
	some parameter, allowed in {
		"cluster_server": "clusters",
		"namespace": "namespaces",
		"repo_url": "repositories",
	}
	value := _parameter(parameter)
	not _may_have(value, allowed)
}

violations contains {
	"rule_id": "replicas",
	"severity": "HIGH",
	"message": "no number, or more than the project may have",
	"resource": replicas,
} if {
	replicas := _parameter("replicas")
	not _few_enough(replicas)
}

# A warning: what HEAD is depends on when the ticket is run.
violations contains {
	"rule_id": "revision",
	"severity": "MEDIUM",
	"message": "the chart has no fixed revision: name a tag or a commit",
	"resource": _parameter("repo_url"),
} if {
	_parameter("revision") in {"HEAD", "", null}
}

_from_allowed_registry(image) if {
	some registry in settings.registries
	startswith(image, concat("", [registry, "/"]))
}

# A function, because `not` before a reference to what does not exist is undefined, not true.
_may_have(value, allowed) if value in settings.projects[_parameter("project")][allowed]

# Producers over Avro send numbers as text.
_few_enough(replicas) if to_number(replicas) <= settings.projects[_parameter("project")].max_replicas

# What the ticket says, or what the worker takes where it says nothing.
_parameter(name) := object.get(input, name, defaults[name]) if {
	defaults := {
		"cluster_server": "https://kubernetes.default.svc",
		"image": "latest",
		"namespace": "default",
		"project": "default",
		"replicas": 1,
		"repo_url": "",
		"revision": "HEAD",
	}
}
