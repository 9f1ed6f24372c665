# What people do with this repository. `make` lists the targets; the scripts they call stand in scripts/.
.DEFAULT_GOAL := help
SHELL := /bin/bash
FOR ?= 60s
CONFIGURATION ?= release
APUS := .build/release/apus
LINTED := Package.swift Sources Tests $(wildcard Fuzz) $(wildcard Benchmarks)

.PHONY: help bootstrap build run test tidy lint format coverage cover cover-html cover-pkg bench bench-store fuzz simulate soak \
	openapi-gen swagger-static swagger-clean docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## install what a build needs (by package name, only what is missing)
	@scripts/bootstrap

build: bootstrap ## build .build/release/apus
	@scripts/stage-swagger || echo "building without Swagger UI: its package cannot be had now"
	swift build -c $(CONFIGURATION) --product apus

run: build ## build, then run everything in one process on simulated GPUs (4 nodes x 8)
	@scripts/run-demo $(APUS)

test: ## everything: set-up, linter, tidy, unit and end-to-end tests, fuzz smoke, OpenAPI
	@scripts/run-tests

tidy: ## the repository checks itself: imports, places, doc comments, reference pages, links
	APUS_TIDY=1 swift test --scratch-path .build/tidy

lint: ## the linter, strict
	swift format lint --strict --parallel --recursive $(LINTED)

format: ## let the formatter rewrite the sources
	swift format --in-place --parallel --recursive $(LINTED)

coverage: ## run the unit tests with coverage and print one line a file
	@scripts/show-coverage files

cover: ## the same as coverage, as one line for the whole
	@scripts/show-coverage total

cover-html: ## write coverage.html, every source line with its count
	@scripts/show-coverage html

cover-pkg: ## coverage by module
	@scripts/show-coverage modules

bench: bootstrap ## measure the parts, then against NATS JetStream and Prometheus
	@scripts/run-benchmarks

bench-store: ## measure the store beside VictoriaMetrics, Prometheus and InfluxDB (ROWS=text,disk ROUNDS=1 HOURS=1)
	@ROWS="$(ROWS)" ROUNDS="$(ROUNDS)" HOURS="$(HOURS)" scripts/run-benchmarks store

fuzz: ## run every fuzz target for FOR (make fuzz FOR=60s)
	@scripts/run-fuzz $(FOR)

simulate: ## thousands of seeded schedules of disk faults over the log and the store
	@scripts/run-simulations

soak: build ## run the whole for FOR under load and fail on growth (make soak FOR=10m)
	@Tests/Acceptance/soak.py --apus $(APUS) --for $(FOR)

openapi-gen: ## write docs/openapi.json from the routes' declarations
	swift build -c $(CONFIGURATION) --product apus
	.build/$(CONFIGURATION)/apus openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

swagger-static: ## put Swagger UI's files from its package into .assets/
	@scripts/stage-swagger

swagger-clean: ## remove them
	rm -rf .assets/swagger

docs: ## the reference of the sources by DocC, in .build/docs
	@scripts/build-docs

clean: swagger-clean ## remove what builds leave behind
	rm -rf .build coverage.html
