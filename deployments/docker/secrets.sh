#!/bin/sh
# secrets.sh [DIRECTORY]: write those secrets of the stack that are not there yet, drawn at
# random, into the directory, ./secrets beside this file by default. What is there stays.
#
# A container's user must be able to read its secrets, so that every user may read the
# files, and only the owner may enter the directory.
set -eu
dir=${1:-$(dirname "$0")/secrets}
mkdir -p "$dir"
chmod 700 "$dir"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# secret NAME VALUE: write it unless it is there.
secret() {
	[ -e "$dir/$1" ] || printf '%s\n' "$2" >"$dir/$1"
	chmod 644 "$dir/$1"
}

secret redis_url redis://redis:6379
secret mongodb_key "$(random)"
secret mongodb_root_password "$(random)"
secret mongodb_password "$(random)"
secret store_url "mongodb://tarn:$(cat "$dir/mongodb_password")@mongodb:27017/tarn?replicaSet=tarn&authSource=admin"
secret ops_token "$(random)"
# Those of the provider; drawn ones do for the simulated one.
secret lemon_api_key "$(random)"
secret lemon_webhook_secret "$(random)"
