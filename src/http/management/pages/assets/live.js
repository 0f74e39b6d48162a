// Pages work without this file. With it they copy, filter at once, and show what changes while they are open.

const quietMs = 10_000;

/** Copies what stands beside a button. */
function offerCopies() {
  for (const button of document.querySelectorAll('button.copy')) {
    button.hidden = false;
    const title = button.firstChild;
    button.addEventListener('click', () => void copyBeside(button, title));
  }
}

async function copyBeside(button, title) {
  title.data = (await copied(button.parentElement.querySelector('code'))) ? 'Copied' : 'Selected';
  setTimeout(() => (title.data = 'Copy'), 2_000);
}

/** The clipboard is there only on a secure address; elsewhere the text is selected, and copied as by hand. */
async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return document.execCommand('copy');
  }
}

/** A choice filters at once. */
function filterAtOnce() {
  for (const choice of document.querySelectorAll('form[data-filter] select')) {
    choice.addEventListener('change', () => choice.form.requestSubmit());
  }
}

/** What is to be shown in places that somebody uses at the moment. */
const waiting = new Map();

function show(regions) {
  for (const place of document.querySelectorAll('[data-live]')) {
    const text = regions[place.dataset.live];
    if (text === undefined) continue;
    if (place.contains(document.activeElement)) waiting.set(place, text);
    else place.innerHTML = text;
  }
}

function showWaiting() {
  for (const [place, text] of waiting) {
    if (place.contains(document.activeElement)) continue;
    waiting.delete(place);
    place.innerHTML = text;
  }
}

function say(state) {
  const pulse = document.querySelector('.pulse');
  pulse.hidden = false;
  pulse.className = `pulse ${state}`;
  pulse.textContent = state === 'on' ? 'Live' : 'Reconnecting';
}

function follow(path) {
  const stream = new EventSource(path);
  stream.addEventListener('open', () => say('on'));
  stream.addEventListener('message', ({ data }) => show(JSON.parse(data)));
  stream.addEventListener('error', () => {
    // A stream ends from time to time, and the browser comes back: only what lasts is worth telling.
    setTimeout(() => stream.readyState !== EventSource.OPEN && say('off'), quietMs);
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => follow(path), quietMs);
  });
}

offerCopies();
filterAtOnce();
addEventListener('focusout', () => setTimeout(showWaiting));
const streamed = document.querySelector('[data-stream]');
if (streamed !== null) follow(streamed.dataset.stream);
