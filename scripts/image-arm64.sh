#!/usr/bin/env bash
# Builds the image for linux/amd64 and linux/arm64, compares them, and lets the one for arm64 serve a pull, emulated by qemu.
# Needs a docker daemon with BuildKit (DOCKER, DOCKER_HOST), qemu-aarch64-static, crane and registry (of distribution) in the PATH.
# NODE_IMAGE: the base, an index of both platforms. Arguments are those of `docker build`, such as --network host.
set -euo pipefail
NODE_IMAGE=${NODE_IMAGE:-docker.io/library/node:26-slim}
docker() { command "${DOCKER:-docker}" "$@"; }
work=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
fail() { echo "$1" >&2; exit 1; }
cd "$(dirname "$0")/.."

for arch in amd64 arm64; do
  DOCKER_BUILDKIT=1 docker build -q --platform "linux/$arch" --build-arg NODE_IMAGE="$NODE_IMAGE" "$@" -t "layerwell-test:$arch" . >/dev/null
  [ "$(docker image inspect "layerwell-test:$arch" --format '{{.Os}}/{{.Architecture}}')" = "linux/$arch" ] || fail "the configuration of the image for $arch has another platform"
  docker save "layerwell-test:$arch" -o "$work/$arch.tar"
  mkdir "$work/$arch"
  crane export - - <"$work/$arch.tar" | tar -x -C "$work/$arch" --exclude 'dev/*'
  (cd "$work/$arch" && { find app etc/layerwell usr/local/bin/layerwell data -printf '%p %M %U:%G %l\n'; find app etc/layerwell -type f -exec sha256sum {} +; } | sort) >"$work/$arch.files"
  docker image rm "layerwell-test:$arch" >/dev/null
done
diff "$work/amd64.files" "$work/arm64.files" || fail "the files of Layerwell differ between the platforms"

# ELF: the machine is at byte 18; 183 is AArch64.
programs=0
while IFS= read -r -d '' file; do
  [ "$(head -c 4 "$file" | tail -c 3 | tr -d "\0")" = ELF ] || continue
  [ "$(od -An -tu2 -j18 -N2 "$file" | tr -d ' ')" = 183 ] || fail "$file is not of arm64"
  programs=$((programs + 1))
done < <(find "$work/arm64" -type f -size +19c -print0)
[ "$programs" -gt 0 ] || fail "the image has no program"

layerwell() { exec qemu-aarch64-static -L "$work/arm64" "$work/arm64/usr/local/bin/node" "$work/arm64/app/dist/main.js" "$@"; }
(layerwell check --config "$work/arm64/etc/layerwell/mirror.config.json")

freePort() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
upstream=127.0.0.1:$(freePort) mirror=127.0.0.1:$(freePort) management=127.0.0.1:$(freePort)
cat >"$work/registry.yml" <<Y
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: $work/registry } }
http: { addr: $upstream }
Y
cat >"$work/mirror.json" <<J
{ "listen": { "host": "127.0.0.1", "port": ${mirror#*:} }, "management": { "host": "127.0.0.1", "port": ${management#*:} },
  "storage": { "path": "$work/data", "maxSize": "4GiB" }, "defaultUpstream": "registry.test",
  "upstreams": { "registry.test": { "url": "http://$upstream", "visibility": "public", "publicRepositories": ["**"] } } }
J
registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 & started+=($!)
layerwell serve --config "$work/mirror.json" >"$work/mirror.log" 2>&1 & started+=($!)
until curl -fs "http://$management/readyz" >/dev/null; do
  kill -0 "${started[1]}" || fail "the mirror ended: $(cat "$work/mirror.log")"
  sleep 1
done
crane push --insecure "$work/arm64.tar" "$upstream/layerwell:1" >/dev/null 2>&1
crane validate --insecure --remote "$mirror/layerwell:1"
kill "${started[1]}"
wait "${started[1]}" || fail "the mirror ended with $?: $(tail -5 "$work/mirror.log")"
echo "linux/arm64: $programs programs, $(wc -l <"$work/arm64.files") files of Layerwell as on linux/amd64, served a pull of $(du -m "$work/arm64.tar" | cut -f1) MB"
