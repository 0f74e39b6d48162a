import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { ServedRequest, ServerSpan } from '../../mirror/ports/tracing.ts';
import type { Exchange } from '../server/exchange.ts';

/** What a span of a request begins with. */
export function servedRequest(
  { method = '', url = '', headers, socket }: IncomingMessage,
  { from, client }: { readonly from: ServedRequest['kind']; readonly client: string | undefined },
): ServedRequest {
  const [path = ''] = url.split('?', 1);
  return { kind: from, method, path, isTls: socket instanceof TLSSocket, headers, client };
}

/** Paths of the distribution API with placeholders. A repository may be preceded by a registry. */
const routes: Readonly<Record<Exchange['kind'], string | undefined>> = {
  manifest: '/v2/{name}/manifests/{reference}',
  blob: '/v2/{name}/blobs/{digest}',
  tags: '/v2/{name}/tags/list',
  referrers: '/v2/{name}/referrers/{digest}',
  catalog: '/v2/_catalog',
  ping: '/v2/',
  other: undefined,
};

/** Of the log line of a request. */
export interface TracedLine
  extends Pick<Exchange, 'requestId' | 'staleReason' | 'upstream' | 'repository' | 'reference' | 'bytes'> {
  readonly status: number;
  readonly cache: string;
  readonly aborted: boolean;
}

/** Ends the span of a client's request with what its log line says. */
export function endRequestSpan(span: ServerSpan, kind: Exchange['kind'], line: TracedLine): void {
  const { status, requestId, cache, staleReason, upstream, repository, reference, bytes, aborted } = line;
  const isManifestDigest = kind === 'manifest' && reference?.includes(':') === true;
  span.end({
    status,
    route: routes[kind],
    attributes: {
      'layerwell.request.id': requestId,
      'layerwell.request.kind': kind,
      'layerwell.cache': cache,
      'layerwell.stale_reason': staleReason,
      'layerwell.upstream': upstream,
      'layerwell.repository': repository,
      'layerwell.reference': reference,
      'oci.manifest.digest': isManifestDigest ? reference : undefined,
      'http.response.body.size': bytes,
      'layerwell.aborted': aborted,
    },
  });
}
