import type { BucketObserver } from '../mirror/ports/observer.ts';
import type { Maker } from './instruments.ts';
import type { Log } from './log.ts';

/** Counts and logs the events of the shared bucket. */
export function createBucketMetrics(make: Maker, logger: Log['logger']): BucketObserver {
  const { calls, seconds, up, uploads, uploadedBytes } = bucketInstruments(make);
  return {
    bucketAnswered: ({ operation, outcome, durationMs }) => {
      calls.inc({ operation, result: outcome });
      seconds.observe({ operation }, durationMs / 1000);
    },
    bucketChanged: ({ kind, state, cause }) => {
      up.set({ kind }, state === 'closed' ? 1 : 0);
      logger[state === 'closed' ? 'info' : 'warn']({ kind, state, err: cause }, 'shared bucket');
    },
    uploadEnded: ({ result, bytes, cause }) => {
      uploads.inc({ result });
      uploadedBytes.inc(bytes);
      if (cause !== undefined) logger.warn({ result, err: cause }, 'upload to the shared bucket');
    },
  };
}

function bucketInstruments(make: Maker) {
  return {
    calls: make.counter(
      'shared_storage_requests_total',
      'Calls to the shared bucket; `result` is `ok`, `absent` or the reason there was no usable answer. Content that is uploaded counts as one `Upload`.',
      ['operation', 'result'],
    ),
    seconds: make.seconds(
      'shared_storage_request_duration_seconds',
      'Time from a call to the shared bucket to its response headers, retries included.',
      ['operation'],
    ),
    up: make.gauge(
      'shared_storage_up',
      '0 while the shared bucket is not asked because it failed a moment ago, for reads and writes; absent before its first failure.',
      ['kind'],
    ),
    uploads: make.counter('shared_storage_uploads_total', 'Uploads to the shared bucket, by result.', ['result']),
    uploadedBytes: make.counter(
      'shared_storage_uploaded_bytes_total',
      'Bytes of content uploaded to the shared bucket.',
    ),
  };
}
