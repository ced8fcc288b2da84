# Tarn. `make help` lists the targets.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION    ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
IMAGE       ?= tarn:dev
ARCH        ?= $(shell $(GO) env GOARCH)
TAGS        := $(shell cat deployments/tags)
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
LDFLAGS     := -s -w -X github.com/tarn-sync/tarn/shared/process.Version=$(VERSION) -X main.version=$(VERSION)
BINARIES    := api worker reconciler standalone simulator tarn
STANDINS    := deployments/standins
MANIFESTS   := $(STANDINS)/kubernetes
APISERVER   := $(STANDINS)/apiserver
COMPOSE     ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
COMPOSE_FILE := deployments/docker/compose.yaml
# demo.env has the simulated provider; a file of yours, another one.
COMPOSE_ENV ?= deployments/docker/demo.env
COMPOSE_STACK = $(COMPOSE) --env-file $(COMPOSE_ENV) -f $(COMPOSE_FILE)
# docker-compose 1.29 refuses a file with a name: it reads the rest, and is given the name.
ifeq ($(COMPOSE),docker-compose)
COMPOSE_STACK = cd $(dir $(COMPOSE_FILE)) && sed /^name:/d $(notdir $(COMPOSE_FILE)) | \
	$(COMPOSE) --project-name $${COMPOSE_PROJECT_NAME:-tarn} --env-file $(abspath $(COMPOSE_ENV)) -f -
endif
SCALE       ?= api=2 worker=3 reconciler=2
FUZZTIME    ?= 10s
DURATION    ?= 120s
STORE       ?= sqlite
PROVIDER    ?= lemon
# Tests of one package run side by side, since they wait more than they compute;
# the packages that take longest begin first.
PARALLEL    ?= 8
PACKAGES    := ./worker/... ./reconciler/... ./shared/storage/mongo ./shared/stream ./...
FLEETS      := ./deployments/chaos ./deployments/proof ./deployments/drift ./deployments/bench/... ./deployments/...
# The race detector looks at all Go but SQLite's own code, translated from C,
# which guards its memory itself and takes two thirds of the time.
RACE        := CGO_ENABLED=1 $(GO) test -race -gcflags=modernc.org/sqlite/lib=-race=false

# Every go command here uses the tags, so that tests and programs share the build
# cache. -tags on a command line replaces them.
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -tags=$(TAGS))

.DEFAULT_GOAL := help
.PHONY: help run build smoke check test vet lint unit bench chaos drift explore fuzz e2e-mongo e2e-redis e2e-upgrade e2e-hosts e2e-kubernetes test-kubernetes test-console screenshots licences openapi release vulns images image publish e2e-image up down smoke-compose e2e-compose fmt tools-run tools-test tools-console tools-hosts tools-compose $(BINARIES)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: tools-run standalone tarn ## run everything on this machine until Ctrl-C, data in .tarn/; of PROVIDER (lemon, or stripe)
	@exec bin/standalone --provider $(PROVIDER)

build: $(BINARIES) ## build all binaries into bin/

api worker reconciler: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$@ ./$@/cmd
standalone tarn: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$@ ./deployments/$@
simulator: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$@ ./deployments/$@/cmd

smoke: tools-run standalone ## one event in, wait for its document, print the milliseconds
	@bin/standalone smoke --provider $(PROVIDER)

check: tools-test ## format, vet, lint, quick tests: before each commit, in two minutes
	@test -z "$$(gofmt -l .)" || { echo "not formatted, run make fmt:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -short -parallel $(PARALLEL) $$($(GO) list $(PACKAGES) | grep -v /deployments)
	$(GO) test -short -count 1 ./deployments/...
	$(GO) run ./deployments/explore -duration 30s

test: tools-test tools-console vet lint unit test-kubernetes ## everything CI does: vet, lint, all tests with the race detector

vet:
	$(GO) vet ./...
	$(GO) vet -tags fault,e2e,$(TAGS) ./...
	$(GO) vet -C $(STANDINS) ./...
	$(GO) vet -C $(MANIFESTS) -tags e2e,$(TAGS) ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not formatted, run make fmt:"; gofmt -l .; exit 1; }
	$(GO) mod tidy -diff
	$(GO) mod tidy -C $(STANDINS) -diff
	$(GO) mod tidy -C $(MANIFESTS) -diff
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags fault,e2e,$(TAGS) ./...

unit:
	$(RACE) -parallel $(PARALLEL) -timeout 40m $$($(GO) list $(PACKAGES) | grep -v /deployments)
	@# Whole fleets: two packages at a time, since they mostly wait; and always again,
	@# for the test cache does not see that they depend on the binaries they build.
	$(RACE) -count 1 -p 2 -timeout 60m $(FLEETS)
	$(RACE) -tags fault,$(TAGS) ./shared/fault
	$(RACE) -tags fault,$(TAGS) -run '^TestFault' ./api ./worker ./shared/storage/sqlite ./shared/storage/mongo

bench: tools-run ## the benchmark table, with what it is compared to
	$(GO) run ./deployments/bench receiver

chaos: tools-run ## break everything for DURATION (120s) from SEED (drawn) on STORE (sqlite, or mongo) with PROVIDER
	@$(GO) run ./deployments/chaos -provider $(PROVIDER) -duration $(DURATION) -store $(STORE) -commands $(if $(SEED),-seed $(SEED)) $(if $(ODD),-odd=$(ODD))

# ODD=1 makes the provider odd in every way it has, in chaos and drift.
# DELAY=50ms makes every write to the store wait that long; ENTITIES=20 is a
# small mirror. `go run ./deployments/drift --help` lists more.
drift: tools-run ## lose events, change things in silence, from SEED (drawn), on a slow store (DELAY) or a small mirror (ENTITIES)
	@$(GO) run ./deployments/drift -provider $(PROVIDER) $(if $(SEED),-seed $(SEED)) $(if $(DELAY),-store-delay $(DELAY)) $(if $(ENTITIES),-entities $(ENTITIES)) $(if $(ODD),-odd=$(ODD))

e2e-mongo: tools-test ## a thousand events through separate processes on MongoDB's wire protocol
	$(RACE) -tags e2e,$(TAGS) -count 1 -timeout 40m -run '^TestThousandEventsOnMongoDB$$' ./deployments/proof

e2e-redis: tools-test ## a fleet on Redis Cluster, sentinels, TLS and an ACL user, through fail-overs, lost replicas and a new password
	$(GO) test -tags e2e,$(TAGS) -count 1 -v -timeout 40m -run '^TestRedis$$' ./deployments/redis

e2e-upgrade: tools-test ## a rolling upgrade from the last release (while there is none, the last commit), or FROM, and the way back, under load
	FROM=$(FROM) $(GO) test -tags e2e,$(TAGS) -count 1 -v -timeout 40m -run '^TestRollingUpgrade$$' ./deployments/upgrade

e2e-hosts: tools-hosts ## a fleet whose processes run on hosts of their own, through cuts, delays, lost packets and wrong clocks; as root, on Linux
	$(GO) test -tags e2e,$(TAGS) -count 1 -v -timeout 60m -run '^TestHosts$$' ./deployments/hosts

test-kubernetes: ## the manifests and the chart against kustomize, Helm and the types of Kubernetes
	@# Always again: the test cache does not look at files of another module.
	$(GO) test -C $(MANIFESTS) -count 1 ./...

e2e-kubernetes: ## the manifests and the chart against a real API server, which is compiled first
	@mkdir -p .tarn/kubernetes
	CGO_ENABLED=0 $(GO) build -C $(APISERVER) -o $(CURDIR)/.tarn/kubernetes/etcd go.etcd.io/etcd/server/v3
	@# The compiler has the memory: it collects garbage less often.
	CGO_ENABLED=0 GOGC=400 $(GO) build -C $(APISERVER) -ldflags '-s -w -X k8s.io/component-base/version.gitVersion='$$($(GO) list -C $(APISERVER) -m -f '{{.Version}}' k8s.io/kubernetes) \
		-o $(CURDIR)/.tarn/kubernetes/kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
	$(GO) test -C $(MANIFESTS) -tags e2e,$(TAGS) -count 1 -v -timeout 20m -run '^TestAPIServer$$' ./...

test-console: tools-test tools-console ## the operator's console in a real Chromium, and its files
	$(RACE) -count 1 -timeout 20m ./api/console ./deployments/console

screenshots: tools-test tools-console ## write the pictures of the console's guide
	$(GO) test -count 1 -run '^TestPictures$$' ./deployments/console -pictures

explore: ## run random schedules of a simulated fleet for DURATION (120s) from SEED (drawn)
	@$(GO) run ./deployments/explore -duration $(DURATION) $(if $(SEED),-seed $(SEED))

fuzz: ## every fuzz target for FUZZTIME (10s)
	@deployments/fuzz.sh $(FUZZTIME)

licences: ## write the list of licences of what ships
	$(GO) test -run '^TestLicencesAreListed$$' ./deployments -licences

openapi: ## write api/openapi.json, what /openapi.json answers
	$(GO) test -run '^TestDocumentIsCheckedIn$$' ./api -write-openapi

release: ## write the archives of a release of VERSION, and their checksums, into dist/
	@deployments/release.sh $(VERSION)

vulns: ## look for known vulnerabilities in what ships; asks vuln.go.dev
	$(GO) run $(GOVULNCHECK) ./...

images up: export VERSION := $(VERSION)
images up: export REVISION := $(REVISION)

images: ## build the container image, in a container of Go
	$(COMPOSE_STACK) build api

# The last stage of the Dockerfile, from what this machine's Go makes for ARCH. Nothing is run
# in it, so that one machine makes the image of another kind.
image: ## build the container image with this machine's Go, for ARCH (its own): nothing is pulled
	@rm -rf .tarn/image && mkdir -p .tarn/image/data
	$(GO) build -o .tarn/make-image ./deployments/image
	GOOS=linux GOARCH=$(ARCH) .tarn/make-image -out .tarn/image/image -version $(VERSION)
	sed -n '/^FROM scratch/,$$p' deployments/docker/Dockerfile | sed 's/--from=build //' | \
		docker build --platform linux/$(ARCH) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMAGE) -f - .tarn/image
	@test "$$(docker image inspect --format '{{.Architecture}}' $(IMAGE))" = $(ARCH) || { echo "the builder made $(IMAGE) for another architecture than $(ARCH)"; exit 1; }

# An attestation that a builder adds would make a list of each image, and a list has no lists.
publish: export BUILDX_NO_DEFAULT_ATTESTATIONS := 1
publish: ## build the image for amd64 and arm64 and push it as IMAGE; its digest is in .tarn/image.digest
	$(MAKE) image ARCH=amd64 IMAGE=$(IMAGE)-amd64
	$(MAKE) image ARCH=arm64 IMAGE=$(IMAGE)-arm64
	docker push $(IMAGE)-amd64
	docker push $(IMAGE)-arm64
	-docker manifest rm $(IMAGE) # what a run before has left
	docker manifest create $(IMAGE) $(IMAGE)-amd64 $(IMAGE)-arm64
	docker manifest push --purge $(IMAGE) >.tarn/image.digest
	@cat .tarn/image.digest

e2e-image: image ## run the container image read-only, without rights, and measure it
	TARN_IMAGE=$(IMAGE) $(GO) test -tags e2e,$(TAGS) -count 1 -v -run '^TestTheImage$$' ./deployments/image

up: ## start the containers, SCALE of each (api=2 worker=3 reconciler=2), with the simulated provider or as COMPOSE_ENV says
	@deployments/docker/secrets.sh $(TARN_SECRETS)
	$(COMPOSE_STACK) build api
	$(COMPOSE_STACK) up --detach $(addprefix --scale ,$(SCALE))

down: ## stop the containers and remove them; volumes stay
	$(COMPOSE_STACK) down

smoke-compose: standalone ## one event into the containers, wait for its document, print the milliseconds
	@bin/standalone smoke --at 127.0.0.1:$(or $(TARN_PORT),8080) --secrets $(or $(TARN_SECRETS),deployments/docker/secrets)

e2e-compose: image tools-compose ## containers under 100 events a second: kill, freeze, cut off, restart; a table of what it cost
	TARN_IMAGE=$(IMAGE) COMPOSE="$(COMPOSE)" $(GO) test -tags e2e,$(TAGS) -count 1 -v -timeout 40m -run '^TestTheStack$$' ./deployments/compose

fmt: ## format the code
	gofmt -w .

tools-run: ; @deployments/need.sh redis-server
tools-test: ; @deployments/need.sh redis-server cc openssl curl
tools-console: ; @deployments/need.sh chromium
tools-hosts: ; @deployments/need.sh redis-server ip nft nsenter
tools-compose: ; @deployments/need.sh redis-server redis-cli haproxy
