package system.authz_test

import data.system.authz

environment := {"env": {"OPA_TOKEN": "token-of-today", "OPA_TOKEN_NEXT": "token-of-tomorrow", "HOME": "/root"}}

question := {"method": "POST", "path": ["v1", "data", "delivery", "admission"], "identity": "token-of-today"}

allowed(changes) if authz.allow with input as object.union(question, changes) with opa.runtime as environment

test_the_token_opens_decisions if {
	allowed({})
	allowed({"path": ["v1", "data", "release"]})
	allowed({"path": ["v1", "data", "worker_agents", "doctor"]})
}

test_the_next_token_opens_them_too if allowed({"identity": "token-of-tomorrow"})

test_without_the_token_there_is_none if {
	not allowed({"identity": "guess"})
	not allowed({"identity": ""})
	not allowed({"identity": "/root"})
	not authz.allow with input as object.remove(question, ["identity"]) with opa.runtime as environment
}

test_an_opa_without_a_token_is_closed if {
	not authz.allow with input as question with opa.runtime as {"env": {}}
	not authz.allow with input as object.union(question, {"identity": ""}) with opa.runtime as {"env": {"OPA_TOKEN": ""}}
}

test_nobody_changes_anything if {
	every method in ["PUT", "PATCH", "DELETE"] {
		not allowed({"method": method})
		not allowed({"method": method, "path": ["v1", "policies", "delivery"]})
	}
}

test_nothing_but_decisions if {
	not allowed({"path": ["v1", "data"]})
	not allowed({"path": ["v1", "data", "system", "authz"]})
	not allowed({"path": ["v1", "query"]})
	not allowed({"path": ["v1", "policies", "delivery", "admission"]})
	not allowed({"path": ["v1", "compile"]})
	not allowed({"method": "GET", "path": ["v1", "policies"]})
	not allowed({"method": "GET"})
}

test_anybody_sees_whether_it_is_well if {
	authz.allow with input as {"method": "GET", "path": ["health"]} with opa.runtime as environment
	authz.allow == false with input as {"method": "PUT", "path": ["health"]} with opa.runtime as environment
	authz.allow == false with input as {"method": "GET", "path": ["metrics"]} with opa.runtime as environment
}
