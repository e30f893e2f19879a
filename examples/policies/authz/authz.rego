# METADATA
# title: Who may ask this OPA for what
# description: |
#   For `opa run --server --authentication=token --authorization=basic`. Whoever has the token may ask for decisions;
#   anybody may see whether OPA is well; nobody changes policies or data. OPA_TOKEN is a variable of OPA's own environment.
#   While the token is changed, OPA_TOKEN_NEXT is taken too.
package system.authz

default allow := false

allow if {
	input.method == "GET"
	input.path == ["health"]
}

allow if {
	_has_the_token
	input.method == "POST"
	array.slice(input.path, 0, 2) == ["v1", "data"]
	not _tells_too_much
}

_has_the_token if {
	some name in ["OPA_TOKEN", "OPA_TOKEN_NEXT"]
	token := opa.runtime().env[name]
	token != ""
	input.identity == token
}

# All data at once, and what is OPA's own.
_tells_too_much if count(input.path) < 3

_tells_too_much if input.path[2] == "system"
