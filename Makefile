# make help says what there is.

# All that the binary may do. It never opens a socket itself.
PERMISSIONS = --allow-read --allow-write \
  --allow-env=PATH,HOME,SSH_AUTH_SOCK,JOURNAL_STREAM,NO_COLOR --allow-sys=uid \
  --allow-run=rsync,ssh,ssh-keygen,ssh-add,openssl,docker,docker-compose,podman,systemctl,getent,dig,delv

SOURCES = main.ts deno.json deno.lock tools/build Makefile $(shell find lib systemd -type f)

.PHONY: all build extras docs deb deb-test release check test torture lab bench demo packages test-packages set-up clean help
.DELETE_ON_ERROR:

all: build

## to try it

demo: packages build ## run the whole chain on this machine, and see one failure
	@tools/deno run --no-check --allow-all tests/demo.ts

## to install it from source

build: dist/certsync ## compile dist/certsync

dist/certsync: $(SOURCES) .tools/built_with
	tools/build $@ $(PERMISSIONS)
	@ls -lh $@

deb: build extras ## make a Debian package of it all, in dist
	@tools/deb dist dist/extras dist/certsync "$$(dpkg --print-architecture)"

extras: set-up ## print the man pages and completions, in dist/extras
	@tools/extras dist/extras

## to work on it

test: ## check, build, and run every test (installs what that needs)
	@MAKE=$(MAKE) tools/test

check: set-up ## formatting, lint and types
	tools/check

docs: set-up build ## write what of docs/ is made from the program itself
	@tools/deno run --no-check --allow-all tools/write_docs.ts

lab: ## run the end-to-end tests on real mail servers, in a Docker engine of their own (root on Debian)
	@MAKE=$(MAKE) exec tools/lab

torture: ## attack the binary: kills, errors, hostile staging, races, generated inputs (SIZE=ci for less)
	@MAKE=$(MAKE) tools/torture $(SIZE)

bench: packages build ## measure dist/certsync against the shell that it replaces (minutes)
	@mkdir -p dist/bench
	@tools/deno compile --quiet --no-check --no-code-cache --output dist/bench/hello tests/bench/hello.ts
	@tools/deno run --no-check --allow-all tests/bench/bench.ts

deb-test: deb ## let lintian look at the package (installs lintian, as root on Debian)
	tools/deb_test dist/certsync_*.deb

packages: ## install the Debian packages that the demo needs
	@tools/debian_packages

test-packages:
	@tools/debian_packages for-tests
	@tools/from_package prometheus promtool
	@tools/from_package prometheus-node-exporter prometheus-node-exporter

help: ## this
	@sed -n 's/^## \(.*\)/\n\1:/p; s/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | sed 1d | expand -t 18

set-up: ## find or install Deno, its runtime and the packages, in .tools
	@tools/set_up

# Changes only when another Deno, runtime or registry was chosen.
.tools/built_with: set-up
	@:

clean: ## remove what was built (.tools, with all that was installed, stays)
	rm -rf dist .tools/choice

## to publish it

release: set-up ## make archives and packages for amd64 and arm64 in dist/release (takes Deno's own runtime)
	tools/release $(PERMISSIONS)
