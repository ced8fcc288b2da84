#!/bin/sh
# upgrade.sh COMPOSE…: replace the processes of a stack by those of the image that TARN_IMAGE
# names. COMPOSE is compose with its flags. As many new ones start beside the old ones of a
# service, which end once all are healthy; if they are not within 2 minutes, the old ones stay.
set -eu

: "${1:?upgrade.sh docker compose --env-file FILE -f FILE}" "${TARN_IMAGE:?the image of the new version}"
# Workers first: events of kinds that only a new definition has wait for the first new one.
for process in worker reconciler api; do
	old=$("$@" ps -q "$process")
	number=$(echo "$old" | wc -w)
	"$@" up --detach --no-build --no-deps --no-recreate --scale "$process=$((2 * number))" "$process"
	tries=120
	for id in $("$@" ps -q "$process"); do
		until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do
			tries=$((tries - 1))
			[ $tries -gt 0 ] || { echo "upgrade.sh: $process: $id is not healthy; the old ones still run" >&2; exit 1; }
			sleep 1
		done
	done
	echo "$old" | xargs docker stop --time 15
	echo "$old" | xargs docker rm
done
