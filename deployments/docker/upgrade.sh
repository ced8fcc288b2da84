#!/bin/sh
# upgrade.sh COMPOSE…: replace the processes of a stack by those of the image that TARN_IMAGE
# names. COMPOSE is compose with its flags. As many new ones start beside the old ones of a
# service, which end once all new ones are healthy. If these are not within 2 minutes, the old
# ones stay, and the script may be run again: processes of TARN_IMAGE count as new.
set -eu

: "${1:?upgrade.sh docker compose --env-file FILE -f FILE}" "${TARN_IMAGE:?the image of the new version}"

# fail ends the script with what is wrong and what to do.
fail() { echo "upgrade.sh: $1" >&2; exit 1; }

# images lists containers with the names of their images.
images() { [ $# -eq 0 ] || docker inspect --format '{{.Id}} {{.Config.Image}}' "$@"; }

running=
for process in worker reconciler api; do
	found=$("$@" ps -q "$process")
	running=$running$found
done
[ -n "$running" ] || fail "nothing of this project runs: is it another COMPOSE_PROJECT_NAME?"

# Workers first: events of kinds that only a new definition has wait for the first new one.
for process in worker reconciler api; do
	found=$("$@" ps -q "$process")
	listed=$(images $found)
	old=$(echo "$listed" | awk -v new="$TARN_IMAGE" 'NF && $2 != new {print $1}')
	[ -n "$old" ] || continue
	number=$(echo "$old" | wc -l)

	"$@" up --detach --no-build --no-deps --no-recreate --scale "$process=$((2 * number))" "$process"
	found=$("$@" ps -q "$process")
	listed=$(images $found)
	new=$(echo "$listed" | awk -v new="$TARN_IMAGE" 'NF && $2 == new {print $1}' | xargs)
	undo="the old ones still run; look at docker logs, and remove the new ones with docker rm --force $new"
	[ "$(echo "$new" | wc -w)" -ge "$number" ] || fail "$process: fewer than $number new ones run: $undo"
	tries=120
	for id in $new; do
		until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] || fail "$process: $id is not healthy: $undo"
			sleep 1
		done
	done
	docker stop $old
	docker rm $old
done
