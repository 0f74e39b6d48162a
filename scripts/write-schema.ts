/** `npm run schema`: writes every file that is generated from the configuration schema and the metrics. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generatedFiles } from './generated-files.ts';

const root = join(import.meta.dirname, '..');
for (const { path, text } of await generatedFiles(root)) writeFileSync(join(root, path), text);
