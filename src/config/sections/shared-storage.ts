import { z } from 'zod';
import { cachedGlob, registryUrl } from './names.ts';
import { bytes, durationOrForeverMs, text, word } from './values.ts';

/** What every S3 server accepts in a bucket's name, those of Ceph and of the early US region included. */
const bucketGrammar = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;
/** With it, the longest key stays below the 1,024 bytes that S3 allows. */
const prefixGrammar = /^[A-Za-z0-9!_.'()-]+(?:\/[A-Za-z0-9!_.'()-]+)*$/;
const longestPrefix = 200;

/** Not `z.regex`: see names.ts. */
function bucketName() {
  return z
    .string()
    .refine((value) => bucketGrammar.test(value), 'expected the name of a bucket, such as "registry-cache"')
    .meta({ title: 'bucket' });
}

function keyPrefix() {
  return z
    .string()
    .refine(
      (value) => value.length <= longestPrefix && prefixGrammar.test(value),
      `expected at most ${longestPrefix} characters such as "layers" or "team/layers", without a slash at either end`,
    )
    .meta({ title: 'prefix' });
}

export const sharedStorage = z
  .strictObject({
    driver: word(['s3']).describe('`s3`: a bucket of S3, or of a server that speaks its protocol.').prefault('s3'),
    bucket: bucketName().describe('The bucket. It must exist.'),
    region: text()
      .describe("The bucket's region. Default: that of the AWS environment, or `us-east-1` if `endpoint` is set.")
      .optional(),
    endpoint: registryUrl()
      .describe('The URL of the server, such as `https://storage.googleapis.com`. Default: AWS.')
      .optional(),
    prefix: keyPrefix().describe('What the keys of all objects begin with. Default: nothing.').optional(),
    maxSize: bytes()
      .describe(
        'Maximum size of the blobs and manifests that it holds, each in whole 4 KiB. Beyond it, the least recently used content is removed from the bucket.',
      )
      .prefault('1TiB'),
    unusedFor: durationOrForeverMs()
      .describe('Remove content from the bucket that no replica read from there for this long.')
      .prefault('90d'),
    keep: z
      .array(cachedGlob())
      .describe('Globs over `<upstream>/<repository>` for content that is never removed from the bucket.')
      .prefault([]),
    pathStyle: z
      .boolean()
      .describe("Puts the bucket's name into the path of URLs instead of the host, as MinIO, Ceph and versitygw need.")
      .prefault(false),
    redirect: z
      .boolean()
      .describe(
        'Answers a GET of a blob that is in the bucket and not on the local disk with a redirect (307) to a presigned URL of the bucket, if anyone may read its repository upstream. The mirror does not verify what clients read there.',
      )
      .prefault(false),
    checksums: word(['when-supported', 'when-required'])
      .describe(
        'Whether uploads carry checksums of S3 wherever the protocol allows them. Default: `when-supported`, or `when-required` if `endpoint` is set, since other servers may refuse them. Content is verified by its digest in either case.',
      )
      .optional(),
    serverSideEncryption: word(['AES256', 'aws:kms'])
      .describe("The encryption to ask for when objects are written. Default: the bucket's own.")
      .optional(),
    kmsKeyId: text().describe('The KMS key of `aws:kms`. Default: the key of the AWS account for S3.').optional(),
  })
  .refine(({ kmsKeyId, serverSideEncryption }) => kmsKeyId === undefined || serverSideEncryption === 'aws:kms', {
    path: ['kmsKeyId'],
    message: 'expected serverSideEncryption "aws:kms" with a kmsKeyId',
  })
  .transform(({ region, checksums, prefix, maxSize, unusedFor, ...rest }) => ({
    ...rest,
    maxBytes: maxSize,
    unusedForMs: unusedFor,
    /** Undefined: that of the environment. */
    region: region ?? (rest.endpoint === undefined ? undefined : 'us-east-1'),
    checksums: checksums ?? (rest.endpoint === undefined ? ('when-supported' as const) : ('when-required' as const)),
    prefix: prefix ?? '',
  }))
  .describe(
    'A bucket that all replicas read from and write to. Credentials come from the default chain of AWS: environment, IRSA, Pod Identity, shared files, instance profile. They need `s3:ListBucket`: without it S3 answers 403 for objects that do not exist.',
  );
