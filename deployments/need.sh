#!/bin/sh
# need.sh TOOL…: make sure that each tool is there, from PATH, else through the
# system's package manager, else say what to do.
set -eu

# package TOOL MANAGER: what the tool is called there.
package() {
	case "$1:$2" in
	redis-server:apt-get) echo redis-server ;;
	redis-server:*) echo redis ;;
	redis-cli:apt-get) echo redis-tools ;;
	redis-cli:*) echo redis ;;
	ip:apt-get) echo iproute2 ;;
	ip:*) echo iproute ;;
	nft:*) echo nftables ;;
	nsenter:*) echo util-linux ;;
	cc:apt-get) echo gcc libc6-dev ;;
	cc:apk) echo gcc musl-dev ;;
	cc:dnf) echo gcc glibc-devel ;;
	cc:brew) echo gcc ;;
	*) echo "$1" ;;
	esac
}

# as_root COMMAND…: package managers but brew want it.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "need.sh: neither root nor sudo: run this as root: $*" >&2
		return 1
	fi
}

install() {
	for manager in apt-get dnf apk brew; do
		command -v "$manager" >/dev/null || continue
		# shellcheck disable=SC2046 # a package name may be two
		set -- "$1" $(package "$1" "$manager")
		shift
		echo "need.sh: getting $* with $manager" >&2
		case $manager in
		apt-get)
			# A fresh machine has no package lists.
			as_root apt-get update -qq
			# The service is not wanted: tests and `make run` start their own.
			as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >/dev/null
			;;
		dnf) as_root dnf install -y -q "$@" ;;
		apk) as_root apk add --quiet "$@" ;;
		brew) brew install --quiet "$@" ;;
		esac
		return
	done
	echo "need.sh: $1 is missing and no package manager was found (apt-get, dnf, apk, brew): install it and try again" >&2
	return 1
}

for tool in "$@"; do
	command -v "$tool" >/dev/null || install "$tool"
	command -v "$tool" >/dev/null || {
		echo "need.sh: $tool is still not on PATH after installing it" >&2
		exit 1
	}
done
