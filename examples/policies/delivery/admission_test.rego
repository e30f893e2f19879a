package delivery.admission_test

import data.delivery.admission

digest := "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

settings := {
	"registries": ["registry.example/team-a"],
	"projects": {"team-a": {
		"clusters": ["https://kubernetes.default.svc"],
		"max_replicas": 5,
		"namespaces": ["billing"],
		"repositories": ["https://git.example/charts.git"],
	}},
}

good := {
	"image": concat("@", ["registry.example/team-a/billing", digest]),
	"namespace": "billing",
	"project": "team-a",
	"replicas": 5,
	"repo_url": "https://git.example/charts.git",
	"revision": "v1.4.2",
}

# Rules that speak of the deployment with other parameters than the good ones.
broken(parameters) := found if {
	found := {violation.rule_id: violation.severity | some violation in admission.violations} with data.delivery.settings as settings
		with input as object.union(good, parameters)
}

test_a_good_deployment_is_allowed if {
	admission.allow with input as good with data.delivery.settings as settings
	broken({}) == {}
}

test_a_number_may_be_text if broken({"replicas": "5"}) == {}

test_only_allowed_registries if {
	broken({"image": concat("@", ["registry.example/team-b/billing", digest])}) == {"image-registry": "CRITICAL"}
	broken({"image": concat("@", ["registry.example/team-a-of-others/billing", digest])}) == {"image-registry": "CRITICAL"}
	broken({"image": concat("@", ["billing", digest])}) == {"image-registry": "CRITICAL"}
}

test_only_images_by_digest if {
	broken({"image": "registry.example/team-a/billing:1.4.2"}) == {"image-digest": "HIGH"}
	broken({"image": "registry.example/team-a/billing@sha256:0123"}) == {"image-digest": "HIGH"}
}

test_only_projects_that_exist if {
	broken({"project": "team-b"}) == {
		"project": "CRITICAL",
		"namespace": "CRITICAL",
		"repo_url": "CRITICAL",
		"cluster_server": "CRITICAL",
		"replicas": "HIGH",
	}
}

test_only_what_the_project_may if {
	broken({"namespace": "kube-system"}) == {"namespace": "CRITICAL"}
	broken({"repo_url": "https://git.example/others.git"}) == {"repo_url": "CRITICAL"}
	broken({"cluster_server": "https://another.example"}) == {"cluster_server": "CRITICAL"}
	broken({"replicas": 6}) == {"replicas": "HIGH"}
	broken({"replicas": "many"}) == {"replicas": "HIGH"}
}

test_a_moving_revision_is_a_warning if {
	moving := object.union(good, {"revision": null})
	broken(moving) == {"revision": "MEDIUM"}
	admission.allow with input as moving with data.delivery.settings as settings
}

test_what_is_left_out_is_what_the_worker_takes if {
	found := {violation.rule_id: violation.severity | some violation in admission.violations} with input as {}
		with data.delivery.settings as settings
	found == {
		"image-registry": "CRITICAL",
		"image-digest": "HIGH",
		"project": "CRITICAL",
		"namespace": "CRITICAL",
		"repo_url": "CRITICAL",
		"cluster_server": "CRITICAL",
		"replicas": "HIGH",
		"revision": "MEDIUM",
	}
	admission.allow == false with input as {} with data.delivery.settings as settings
}

test_every_violation_says_what_and_where if {
	found := admission.violations with input as {} with data.delivery.settings as settings
	every violation in found {
		count(violation.message) > 20
	}
	{violation.rule_id: violation.resource | some violation in found} == {
		"image-registry": "latest",
		"image-digest": "latest",
		"project": "default",
		"namespace": "default",
		"repo_url": "",
		"cluster_server": "https://kubernetes.default.svc",
		"replicas": 1,
		"revision": "",
	}
}

test_no_object_is_denied if {
	found := admission.violations with input as null with data.delivery.settings as settings
	{"rule_id": "input", "severity": "CRITICAL", "message": "the input is no object"} in found
	every value in [null, true, 5, "text", [good]] {
		admission.allow == false with input as value with data.delivery.settings as settings
	}
}

test_parameters_of_wrong_types_are_denied if {
	every name in ["image", "project", "namespace", "repo_url", "replicas"] {
		every value in [[], {}, "", [good[name]]] {
			not admission.allow with input as object.union(object.remove(good, [name]), {name: value})
				with data.delivery.settings as settings
		}
	}
}

test_without_settings_everything_is_denied if {
	not admission.allow with input as good with data.delivery.settings as {}
}
