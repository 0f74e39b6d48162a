import { appendFileSync } from 'node:fs';
import { NodeTracerProvider, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

const file = process.env['TEST_SPANS'] ?? '';

function lineOf(span: ReadableSpan): string {
  const { name, parentSpanContext, attributes } = span;
  return `${JSON.stringify({ name, ...span.spanContext(), parent: parentSpanContext?.spanId, attributes })}\n`;
}

/** Loaded into a mirror's process before its own code (`--import`), as an operator loads an SDK: appends each span to the file TEST_SPANS. */
const exporter: ConstructorParameters<typeof SimpleSpanProcessor>[0] = {
  export: (spans, done) => {
    appendFileSync(file, spans.map(lineOf).join(''));
    done({ code: 0 });
  },
  shutdown: async () => {},
};

new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
