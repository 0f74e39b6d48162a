import { appendFileSync } from 'node:fs';
import { BatchSpanProcessor, NodeTracerProvider, type ReadableSpan } from '@opentelemetry/sdk-trace-node';

const file = process.env['TEST_SPANS'] ?? '';

function lineOf(span: ReadableSpan): string {
  const { name, parentSpanContext, attributes } = span;
  return `${JSON.stringify({ name, ...span.spanContext(), parent: parentSpanContext?.spanId, attributes })}\n`;
}

/**
 * Loaded into a mirror's process before its own code (`--import`), as an operator loads an SDK: appends the spans to the file TEST_SPANS when
 * the process ends.
 */
const exporter: ConstructorParameters<typeof BatchSpanProcessor>[0] = {
  export: (spans, done) => {
    appendFileSync(file, spans.map(lineOf).join(''));
    done({ code: 0 });
  },
  shutdown: async () => {},
};

const hourMs = 3_600_000;
new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: hourMs })],
}).register();
