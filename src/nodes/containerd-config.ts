/**
 * Whether containerd reads the folder.
 *
 *     read       `config_path` names it
 *     default    nothing is configured: containerd 2.2 and later reads /etc/containerd/certs.d, earlier ones nothing
 *     elsewhere  `config_path` names other folders
 *     legacy     `registry.mirrors` or `registry.configs` is used, which excludes `config_path`
 */
export type FolderUse = 'read' | 'default' | 'elsewhere' | 'legacy';

/** What is configured for registries by the CRI plugin of containerd 2, and of 1.x. */
const registry =
  /^plugins\.(?:io\.containerd\.cri\.v1\.images|io\.containerd\.grpc\.v1\.cri)\.registry\.(config_path|mirrors|configs)\b/;

/**
 * What the configuration of containerd says, as far as it is written in the usual way: a key a line. The file is only read: to change it means to restart containerd, which is the administrator's to decide.
 * @param texts the file, and those that it imports: later ones count.
 */
export function folderUse(texts: readonly string[], folder: string): FolderUse {
  const settings = texts.flatMap(registrySettings);
  const paths = settings.filter(({ key }) => key === 'config_path').at(-1)?.value ?? '';
  if (paths === '') return settings.some(({ key }) => key === 'legacy') ? 'legacy' : 'default';
  return paths.split(':').some((path) => path.replace(/\/$/, '') === folder) ? 'read' : 'elsewhere';
}

/** The files that the configuration imports, as patterns. */
export function importsIn(text: string): readonly string[] {
  const list = /^\s*imports\s*=\s*\[([^\]]*)\]/m.exec(text)?.[1] ?? '';
  return [...list.matchAll(/["']([^"']+)["']/g)].map(([, pattern = '']) => pattern);
}

function registrySettings(text: string): readonly { readonly key: string; readonly value: string }[] {
  let section = '';
  return text.split('\n').flatMap((line) => {
    const header = /^\s*\[\s*([^[\]]+?)\s*\]\s*(?:#.*)?$/.exec(line)?.[1];
    if (header !== undefined) section = header;
    const [, key = '', value = ''] = /^\s*([^=#[]+?)\s*=\s*(?:["']([^"']*)["'])?/.exec(line) ?? [];
    const name = registry.exec(plain(header ?? `${section}.${key}`))?.[1];
    if (name === undefined) return [];
    return [name === 'config_path' ? { key: name, value } : { key: 'legacy', value: '' }];
  });
}

/** A dotted key without its quotes. */
function plain(key: string): string {
  return key
    .replaceAll(/["']/g, '')
    .replaceAll(/\s*\.\s*/g, '.')
    .replace(/^\./, '');
}
