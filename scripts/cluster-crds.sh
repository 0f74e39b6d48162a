#!/usr/bin/env bash
# scripts/cluster-crds.sh FOLDER: writes the definitions of the kinds that other projects own and the chart can render (HTTPRoute, Certificate,
# ServiceMonitor, PodMonitor, PrometheusRule), from Go's module proxy, for `CLUSTER_CRDS=FOLDER npm run test:cluster`. Needs Go.
set -euo pipefail
PATH="$PATH:/usr/local/go/bin"
folder=${1:?the folder to write to}

definitions=(
  sigs.k8s.io/gateway-api@v1.4.0:config/crd/standard/gateway.networking.k8s.io_httproutes.yaml
  github.com/cert-manager/cert-manager@v1.19.1:deploy/crds/cert-manager.io_certificates.yaml
  github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
  github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml
  github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml
)

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd / # Outside of any Go module.
for each in "${definitions[@]}"; do
  module=${each%%:*} path=${each#*:}
  source=$(go mod download -json "$module" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -n "$source" ] || { echo "$module: not downloaded" >&2; exit 1; }
  install -m 644 "$source/$path" "$folder/"
  echo "$folder/${path##*/} ($module)"
done
