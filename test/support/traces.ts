import { context, propagation, trace } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { expect } from 'vitest';
import { createTracing, type Traces } from '../../src/telemetry/tracing.ts';
import { thisTest } from './owner.ts';

/** The spans of a test. */
export interface RecordedSpans {
  readonly tracing: Traces;
  /** Waits until a span of this name has ended. */
  ended(name: string, nth?: number): Promise<ReadableSpan>;
  all(): readonly ReadableSpan[];
}

/** Registers the SDK as an operator does, until the test has ended. */
export function recordSpans(others: readonly SpanProcessor[] = []): RecordedSpans {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter), ...others] });
  provider.register();
  thisTest(async () => {
    await provider.shutdown();
    for (const api of [trace, context, propagation]) api.disable();
  });
  const tracing = createTracing({ version: 'test' });
  if (!tracing) throw new Error('the SDK is registered');
  const named = (name: string) => exporter.getFinishedSpans().filter((span) => span.name === name);
  return {
    tracing,
    all: () => exporter.getFinishedSpans(),
    ended: async (name, nth = 1) => {
      await expect.poll(() => named(name).length).toBeGreaterThanOrEqual(nth);
      const span = named(name)[nth - 1];
      if (!span) throw new Error(`there is a span ${name}`);
      return span;
    },
  };
}
