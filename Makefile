# Everything a person does here, by one name. Needs make, a C compiler and rustup; what a command needs
# beyond those, it installs or explains. Every cargo command that may build V8 goes through scripts/with-v8, and
# selects the whole workspace, so that one build of the dependencies serves them all; but not for a release, which has
# nothing in it that only tests ask for.

EXAMPLE ?= chat-room
ARGS ?=
CARGO := scripts/need cargo cc && scripts/with-v8 cargo

.DEFAULT_GOAL := help
.PHONY: help run build release test apart proof lint bench images e2e wire faults parity types wpt

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run an example: make run EXAMPLE=chat-room ARGS="--port 8080"
	@test -d "examples/$(EXAMPLE)" || { echo "error: no examples/$(EXAMPLE); there are:" $$(ls examples) >&2; exit 1; }
	@$(CARGO) run --bin portside -- dev "examples/$(EXAMPLE)" $(ARGS)

build: ## build everything, unoptimised
	@$(CARGO) build --workspace

release: ## build the programs portside and kubectl-portside, optimised, in target/release
	@$(CARGO) build --release -p portside-cli -p portside-kubectl

test: ## run all tests
	@scripts/need cargo cc
	@scripts/test $(ARGS)

apart: ## run JavaScript's behaviour once more, with all workers in another pod than the server that is asked
	@PORTSIDE_TEST_APART=1 $(CARGO) test --workspace --test behaviour -- $(ARGS)

proof: ## build core, instances and simulation from nothing and test them: four minutes on two cores, without V8
	@scripts/proof $(ARGS)

lint: ## check formatting, lints, file sizes and dependencies
	@scripts/lint

bench: release ## measure against workerd on this machine: make bench ARGS="--rounds 5"
	@scripts/need node npm
	@$(CARGO) run --release -p portside-bench -- $(ARGS)

wire: ## run the suites of others for WebSockets and HTTP/2: make wire ARGS="13.*"
	@scripts/wire/run $(ARGS)

faults: ## kill, pause and cut off what runs, and check what clients were told: make faults ARGS="--minutes 30"
	@scripts/faults $(ARGS)

parity: ## run the same programs on workerd and on Portside, and compare: make parity ARGS="--only 'sql/*'"
	@scripts/parity $(ARGS)

types: ## have TypeScript check the declarations in types/, the examples and the starters
	@scripts/types

wpt: ## run the web platform's own tests: make wpt WPT=path/of/web-platform-tests ARGS="url streams"
	@scripts/need python3
	@test -f "$(WPT)/resources/testharness.js" || { scripts/wpt ""; exit 1; }
	@$(CARGO) build --workspace --bin portside
	@scripts/wpt "$(WPT)" $(ARGS)

images: ## build the cluster's container images into target/images: make images REPOSITORY=registry.example/acme TAG=1.0
	@REPOSITORY="$(REPOSITORY)" TAG="$(TAG)" PROFILE="$(PROFILE)" scripts/images

e2e: ## run the tests on a real Kubernetes: make e2e ARGS=failures
	@scripts/e2e $(ARGS)
