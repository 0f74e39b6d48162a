import { snippet } from '../drawing/parts.ts';
import { type Content, type Html, html, name } from '../html.ts';
import type { Page } from '../page.ts';
import { type MirrorAddress, mirrorAt, type View } from '../view.ts';

/** How to point clients at the mirror, for the address that the page was opened by. */
export const start: View = async ({ host }, { administration, clients }): Promise<Page> => {
  const { items } = await administration.upstreams();
  const registries = items.map((upstream) => upstream.name).filter((upstream) => !upstream.includes('*'));
  const mirror = mirrorAt(host, clients());
  return { title: 'Getting started', place: 'start', body: bodyOf(mirror, registries) };
};

interface Guide {
  readonly id: string;
  readonly title: string;
  readonly intro: Content;
  readonly file: string;
  readonly text: string;
  readonly after?: Content;
}

function bodyOf(mirror: MirrorAddress, registries: readonly string[]): Html {
  const guides = guidesFor(mirror, registries);
  const [first = 'docker.io'] = registries;
  const image = first === 'docker.io' ? 'docker.io/library/alpine:latest' : `${first}/org/app:v1`;
  return html`<div class="head">
<h1>Getting started</h1>
<p class="sub">Clients pull through <code>${mirror.url}</code>. The files below are written for this address; clients fall back to the registry when the mirror does not answer.</p>
</div>
<section aria-labelledby="try" class="card"><h2 id="try">Try it by hand</h2>
<p>Put the address of the mirror before the name of an image:</p>
${snippet(`docker pull ${mirror.authority}/${image}`, 'the pull command')}
<p class="note">This mirror serves ${registries.map((one, place) => [place > 0 && ', ', name(one)])}.</p></section>
<nav aria-label="Clients" class="chips"><ul>${guides.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
<div class="guides">${guides.map(guideOf)}</div>`;
}

function guideOf({ id, title, intro, file, text, after }: Guide): Html {
  return html`<section class="card guide" aria-labelledby="${id}"><h2 id="${id}">${title}</h2>
<p>${intro}</p>
<p class="file"><code>${file}</code></p>
${snippet(text, `for ${title}`)}
${after !== undefined && html`<p class="note">${after}</p>`}</section>`;
}

function guidesFor(mirror: MirrorAddress, registries: readonly string[]): readonly Guide[] {
  return [
    dockerGuide(mirror),
    containerdGuide(mirror),
    podmanGuide(mirror, registries),
    {
      ...podmanGuide(mirror, registries),
      id: 'crio',
      title: 'CRI-O',
      intro: 'Write this file, then reload CRI-O:',
      after: html`<code>systemctl reload crio</code>`,
    },
    buildkitGuide(mirror, registries),
    k3sGuide(mirror),
  ];
}

function dockerGuide({ url, authority, isTls }: MirrorAddress): Guide {
  const settings = { 'registry-mirrors': [url], ...(!isTls && { 'insecure-registries': [authority] }) };
  return {
    id: 'docker',
    title: 'Docker',
    intro: 'dockerd uses mirrors for Docker Hub only. Add this, then restart dockerd:',
    file: '/etc/docker/daemon.json',
    text: JSON.stringify(settings, undefined, 2),
    after: html`For other registries, put <code>${authority}/</code> before the name of the image.`,
  };
}

function containerdGuide({ url }: MirrorAddress): Guide {
  return {
    id: 'containerd',
    title: 'containerd',
    intro: html`It applies to every registry without a folder of its own, and is read at every pull. <code>config_path</code> of containerd must name <code>/etc/containerd/certs.d</code>.`,
    file: '/etc/containerd/certs.d/_default/hosts.toml',
    text: `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n  dial_timeout = "1s"`,
  };
}

function podmanGuide({ authority, isTls }: MirrorAddress, registries: readonly string[]): Guide {
  const entries = registries.map((registry) =>
    [
      '[[registry]]',
      `location = "${registry}"`,
      '[[registry.mirror]]',
      `location = "${authority}/${inPath(registry)}"`,
      ...(isTls ? [] : ['insecure = true']),
    ].join('\n'),
  );
  return {
    id: 'podman',
    title: 'podman, buildah, skopeo',
    intro: 'Write this file; the next pull reads it:',
    file: '/etc/containers/registries.conf.d/layerwell.conf',
    text: entries.join('\n\n'),
  };
}

function buildkitGuide({ authority, isTls }: MirrorAddress, registries: readonly string[]): Guide {
  const entries = registries.map((registry) => `[registry."${registry}"]\n  mirrors = ["${authority}"]`);
  const own = isTls ? [] : [`[registry."${authority}"]\n  http = true`];
  return {
    id: 'buildkit',
    title: 'BuildKit',
    intro: 'Add this, then restart buildkitd or create the builder with it:',
    file: '/etc/buildkit/buildkitd.toml',
    text: [...entries, ...own].join('\n'),
  };
}

function k3sGuide({ url }: MirrorAddress): Guide {
  return {
    id: 'k3s',
    title: 'k3s and RKE2',
    intro: html`Write this file, then restart k3s. RKE2 reads <code>/etc/rancher/rke2/registries.yaml</code>.`,
    file: '/etc/rancher/k3s/registries.yaml',
    text: `mirrors:\n  "*":\n    endpoint: ["${url}"]`,
  };
}

/** A registry in the path of an image name, which cannot hold a second colon. */
function inPath(registry: string): string {
  return registry.replace(/:(\d+)$/, '_$1');
}
