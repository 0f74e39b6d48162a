#!/usr/bin/env bash
# Installs the real clients and servers that the tests and the bench use, and lists the tools it could not install.
#   scripts/install-tools.sh debian    clients and servers from Debian packages (needs root)
#   scripts/install-tools.sh go        tools built by `go install` (needs a current Go)
#   scripts/install-tools.sh python    Python tools, into ~/.local/share/layerwell-tools
#   scripts/install-tools.sh           all of them
# Tools that are already installed are left alone. Tests that need a missing tool are skipped, and say so.
set -uo pipefail
PATH="$PATH:/usr/sbin:/sbin:/usr/local/go/bin"

debian_tools=(dockerd:docker.io containerd:containerd podman:podman buildah:buildah skopeo:skopeo runc:runc
  docker-registry:docker-registry nginx:nginx-light wrk:wrk redis-server:redis-server htpasswd:apache2-utils
  promtool:prometheus zsh:zsh fish:fish)

go_tools=(
  registry@github.com/distribution/distribution/v3/cmd/registry@v3.1.2
  crane@github.com/google/go-containerregistry/cmd/crane@v0.22.1
  regctl@github.com/regclient/regclient/cmd/regctl@v0.11.7
  helm@helm.sh/helm/v3/cmd/helm@v3.22.0
  kubeconform@github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
  versitygw@github.com/versity/versitygw/cmd/versitygw@v1.8.0
  toxiproxy-server@github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0
)

missing=()

install_debian() {
  local wanted=() entry
  for entry in "${debian_tools[@]}"; do
    command -v "${entry%%:*}" >/dev/null || wanted+=("${entry##*:}")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    missing+=("${wanted[@]/%/ (needs Debian and root)}")
    return
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Keep services from starting: every test starts its own, on its own port.
  local policy=/usr/sbin/policy-rc.d made_policy=
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1; }
  apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null || missing+=("one of: ${wanted[*]}")
  [ -z "$made_policy" ] || rm -f "$policy"
}

install_go() {
  local entry name source
  for entry in "${go_tools[@]}"; do
    name=${entry%%@*} source=${entry#*@}
    command -v "$name" >/dev/null || [ -x "$(go env GOPATH 2>/dev/null)/bin/$name" ] && continue
    if ! command -v go >/dev/null; then
      missing+=("$name (no Go here)")
      continue
    fi
    install_from "$source" "$name" 2>/dev/null || missing+=("$name (go install failed)")
  done
}

# Go names a program after its folder, which need not be its name.
install_from() {
  local source=$1 name=$2 folder made
  folder=$(go env GOPATH)/bin made=$(basename "${source%@*}")
  go install "$source" && { [ "$made" = "$name" ] || mv "$folder/$made" "$folder/$name"; }
}

# moto simulates AWS: ECR and STS. kubernetes-validate brings the JSON schemas of Kubernetes, of which a few versions are kept.
install_python() {
  local folder="$HOME/.local/share/layerwell-tools"
  local wanted=()
  command -v moto_server >/dev/null || [ -x "$folder/bin/moto_server" ] || wanted+=(moto_server)
  command -v kubernetes-schemas >/dev/null || [ -x "$folder/bin/kubernetes-schemas" ] || wanted+=(kubernetes-schemas)
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! command -v python3 >/dev/null; then
    missing+=("${wanted[@]/%/ (no Python here)}")
    return
  fi
  [ -x "$folder/bin/pip" ] || python3 -m venv "$folder" >/dev/null 2>&1
  local each
  for each in "${wanted[@]}"; do
    case $each in
      moto_server) "$folder/bin/pip" install -q 'moto[server,ecr,sts]>=5,<6' ;;
      kubernetes-schemas) install_kubernetes_schemas "$folder" ;;
    esac >/dev/null 2>&1 || missing+=("$each (pip failed)")
  done
}

# A program that prints the folder of the schemas.
install_kubernetes_schemas() {
  local folder=$1 wheel
  wheel=$(mktemp -d)
  "$folder/bin/pip" download -q --no-deps -d "$wheel" kubernetes-validate==1.37.0 &&
    "$folder/bin/python" - "$wheel"/*.whl "$folder/share" <<'PYTHON' &&
import re, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in wheel.namelist():
        if re.search(r"/v1\.(29|37)\.0-local-strict/", name):
            wheel.extract(name, sys.argv[2])
PYTHON
    printf '#!/bin/sh\necho "%s"\n' "$folder/share/kubernetes_validate/kubernetes-json-schema" >"$folder/bin/kubernetes-schemas" &&
    chmod +x "$folder/bin/kubernetes-schemas"
  local status=$?
  rm -rf "$wheel"
  return $status
}

case "${1:-all}" in
  debian) install_debian ;;
  go) install_go ;;
  python) install_python ;;
  all) install_debian; install_go; install_python ;;
  *) echo "usage: $0 [debian|go|python]" >&2 && exit 2 ;;
esac
for tool in ${missing[@]+"${missing[@]}"}; do echo "not installed: $tool"; done
exit 0
