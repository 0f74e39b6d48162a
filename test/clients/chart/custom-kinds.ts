/** A JSON Schema. */
type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: 'string' };
const texts: Schema = { type: 'array', items: text, minItems: 1 };
/** A time as the Prometheus operator and cert-manager read it. */
const duration: Schema = { type: 'string', pattern: '^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$' };
const port: Schema = { type: 'integer', minimum: 1, maximum: 65_535 };

/** An object of these members and no others. */
function only(properties: Readonly<Record<string, Schema>>, required: readonly string[]): Schema {
  return { type: 'object', properties, additionalProperties: false, ...(required.length > 0 && { required }) };
}

function listOf(items: Schema): Schema {
  return { type: 'array', items, minItems: 1 };
}

function kind(apiVersion: string, name: string, spec: Schema): Schema {
  const metadata = { type: 'object', required: ['name', 'namespace', 'labels'] };
  return only({ apiVersion: { const: apiVersion }, kind: { const: name }, metadata, spec }, [
    'apiVersion',
    'kind',
    'metadata',
    'spec',
  ]);
}

const relabelings = listOf(
  only(
    {
      sourceLabels: texts,
      separator: text,
      targetLabel: text,
      regex: text,
      replacement: text,
      action: text,
      modulus: { type: 'integer' },
    },
    [],
  ),
);
const endpoints = listOf(
  only(
    {
      port: text,
      path: text,
      interval: duration,
      scrapeTimeout: duration,
      honorLabels: { type: 'boolean' },
      relabelings,
      metricRelabelings: relabelings,
    },
    ['port', 'path'],
  ),
);

function monitor(name: string, endpointsKey: string): Schema {
  const members = {
    namespaceSelector: only({ matchNames: texts }, ['matchNames']),
    selector: only({ matchLabels: { type: 'object', additionalProperties: text } }, ['matchLabels']),
    jobLabel: text,
    sampleLimit: { type: 'integer' },
    [endpointsKey]: endpoints,
  };
  return kind('monitoring.coreos.com/v1', name, only(members, ['selector', endpointsKey]));
}

const rule = only(
  {
    alert: text,
    record: text,
    expr: text,
    for: duration,
    labels: { type: 'object', additionalProperties: text },
    annotations: { type: 'object', additionalProperties: text },
  },
  ['expr'],
);
const ruleGroup = only({ name: text, interval: duration, rules: listOf(rule) }, ['name', 'rules']);

const certificate = only(
  {
    secretName: text,
    issuerRef: only({ name: text, kind: { enum: ['Issuer', 'ClusterIssuer'] }, group: text }, ['name']),
    dnsNames: texts,
    ipAddresses: texts,
    duration,
    renewBefore: duration,
    privateKey: only(
      {
        algorithm: { enum: ['RSA', 'ECDSA', 'Ed25519'] },
        encoding: { enum: ['PKCS1', 'PKCS8'] },
        rotationPolicy: { enum: ['Never', 'Always'] },
        size: { type: 'integer' },
      },
      [],
    ),
  },
  ['secretName', 'issuerRef', 'dnsNames'],
);

const parentRef = only({ group: text, kind: text, name: text, namespace: text, sectionName: text, port }, ['name']);
const filter = { type: 'object', properties: { type: text }, required: ['type'] };
const routeRule = only(
  {
    backendRefs: listOf(only({ name: text, port }, ['name', 'port'])),
    timeouts: only({ request: duration, backendRequest: duration }, []),
    filters: listOf(filter),
  },
  ['backendRefs'],
);

/**
 * What the chart writes of the kinds of other projects, by the name that kubeconform asks for: those members only, with the types that cert-manager,
 * the Gateway API and the Prometheus operator document for them.
 */
export const customKinds: Readonly<Record<string, Schema>> = {
  'certificate-cert-manager-v1.json': kind('cert-manager.io/v1', 'Certificate', certificate),
  'httproute-gateway-v1.json': kind(
    'gateway.networking.k8s.io/v1',
    'HTTPRoute',
    only({ parentRefs: listOf(parentRef), hostnames: texts, rules: listOf(routeRule) }, ['parentRefs', 'rules']),
  ),
  'podmonitor-monitoring-v1.json': monitor('PodMonitor', 'podMetricsEndpoints'),
  'servicemonitor-monitoring-v1.json': monitor('ServiceMonitor', 'endpoints'),
  'prometheusrule-monitoring-v1.json': kind(
    'monitoring.coreos.com/v1',
    'PrometheusRule',
    only({ groups: listOf(ruleGroup) }, ['groups']),
  ),
};
