# make help says what there is.

# All that the binary may do. It never opens a socket itself.
PERMISSIONS = --allow-read --allow-write \
  --allow-env=PATH,HOME,SSH_AUTH_SOCK,JOURNAL_STREAM,NO_COLOR --allow-sys=uid,hostname \
  --allow-run=rsync,ssh,openssl,docker,docker-compose,systemctl,getent

SOURCES = main.ts deno.json deno.lock tools/build Makefile $(shell find lib systemd -type f)

.PHONY: all build check test lab demo packages test-packages set-up clean help
.DELETE_ON_ERROR:

all: build

build: dist/certsync ## compile dist/certsync

dist/certsync: $(SOURCES) .tools/built_with
	tools/build $(PERMISSIONS)
	@ls -lh $@

# Changes only when another Deno, runtime or registry was chosen.
.tools/built_with: set-up
	@:

check: set-up ## formatting, lint and types
	tools/check

test: ## check, build, and run every test (installs what that needs)
	@MAKE=$(MAKE) tools/test

lab: ## run the end-to-end tests on real mail servers, in a Docker engine of their own (root on Debian)
	@MAKE=$(MAKE) exec tools/lab

demo: packages build ## run the whole chain on this machine
	@tools/deno run --no-check --allow-all tests/demo.ts

packages: ## install the Debian packages that demo and tests need
	@tools/debian_packages

test-packages: packages
	@tools/promtool

set-up: ## find or install Deno, its runtime and the packages, in .tools
	@tools/set_up

clean: ## remove what was built (.tools, with all that was installed, stays)
	rm -rf dist .tools/choice

help: ## this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile
