#!/bin/sh
# release.sh VERSION: write into dist/ what a release has. The programs for Linux with
# their licences and bill of materials, the command line for other systems too, and the
# checksums of all. The same commit and Go make the same files.
set -eu

version=${1:?release.sh VERSION}
time=$(git log -1 --format=%ct)
tags=$(cat deployments/tags)
work=.tarn/release
rm -rf dist "$work"
mkdir -p dist "$work"
go build -o "$work/image" ./deployments/image

# cli OS ARCH FILE: build the command line. A link of that name goes first: go build writes
# through it, into tarnd, where the file cannot be moved into its place.
cli() {
	rm -f "$3"
	GOOS=$1 GOARCH=$2 CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags "$tags" \
		-ldflags "-s -w -buildid= -X main.version=$version" -o "$3" ./deployments/tarn
}

# pack NAME DIR…: make an archive of directories of DIR.
pack() {
	name=$1 && shift
	tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -C "$work/$name" -cf - "$@" | gzip -n -9 >"dist/$name.tar.gz"
}

for arch in amd64 arm64; do
	name=tarn_${version}_linux_$arch
	GOOS=linux GOARCH=$arch "$work/image" -out "$work/root" -version "$version"
	mkdir -p "$work/$name"
	mv "$work/root/usr/local/bin" "$work/$name/bin"
	mv "$work/root/usr/share/doc/tarn" "$work/$name/doc"
	rm -rf "$work/root"
	cp "$work/$name/doc/sbom.cdx.json" "dist/$name.cdx.json"
	cli linux "$arch" "$work/$name/bin/tarn"
	pack "$name" bin doc
done
for system in darwin/arm64 darwin/amd64 windows/amd64; do
	name=tarn-cli_${version}_$(echo "$system" | tr / _)
	mkdir -p "$work/$name/bin"
	case $system in windows/*) file=tarn.exe ;; *) file=tarn ;; esac
	cli "${system%/*}" "${system#*/}" "$work/$name/bin/$file"
	cp LICENSE "$work/$name/bin/"
	pack "$name" bin
done
(cd dist && sha256sum -- * >SHA256SUMS)
rm -rf "$work"
cat dist/SHA256SUMS
