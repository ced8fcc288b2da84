// The parts that pages are made of.

import { h, fill } from './dom.js';
import * as f from './format.js';
import * as words from './words.js';
import { Problem, seg } from './api.js';
import { pretty } from './json.js';

// tag shows a word in a colour; pill does so with a status.
export const tag = (word, tone, says) => h('span', { class: `pill ${tone}`, title: says }, word);
export const pill = (word, table, key = word) => tag(word, ...(table[key] ?? ['calm']));

export const quiet = (...children) => h('span', { class: 'quiet' }, ...children);
export const aside = (...children) => h('p', { class: 'quiet' }, ...children);
export const errorText = (text) => h('span', { class: 'error' }, text);
export const bulk = (...children) => h('div', { class: 'bulk' }, ...children);
// titled is a line with a title and tags.
export const titled = (...children) => h('div', { class: 'title' }, ...children);
// amount heads a dialog: how many an act is about.
export const amount = (text) => h('p', { class: 'count' }, text);
// typeName shows the type of an event, which may break after a dot.
export const typeName = (text) => h('span', { class: 'type' }, text.split(/(?<=\.)/).map((part, i) => [i > 0 && h('wbr'), part]));

// shortError leaves out the entity where a list names it beside.
export const shortError = (of, text) => text.replace(`fetch ${of.source}/${of.kind}/${of.entity}: `, '');

// when is a time as seen from now, with the exact one as its title; past stands in place of
// one that is over. tick keeps all of them true.
export function when(time, otherwise = '–', past = null) {
  if (!time) return quiet(otherwise);
  return h('time', { datetime: time, title: f.full(time), 'data-ago': time, 'data-past': past }, seen(time, past));
}

export const exactly = (time) => h('time', { datetime: time, title: f.full(time) }, f.exact(time));

// at is a time in the margin of a timeline, with how long after another one it is.
export function at(time, from) {
  const s = f.between(from, time);
  return h('div', { class: 'at' }, exactly(time), time !== from && quiet(s >= 0 ? `+${f.length(s)}` : `−${f.length(-s)}`));
}

const seen = (time, past) => (past && new Date(time) < Date.now() ? past : f.ago(time));

export function tick() {
  for (const node of document.querySelectorAll('[data-ago]')) {
    const text = seen(node.dataset.ago, node.dataset.past);
    if (node.textContent !== text) node.textContent = text;
  }
}

// id shows an id in the type of code; it may break anywhere, and is selected with a click.
export const id = (text) => h('code', { class: 'id' }, text);

export const a = (href, ...children) => h('a', { href, 'data-key': href }, ...children);

export const eventLink = (source, eventID) => a(`#/events/${seg(source)}/${seg(eventID)}`, id(eventID));

// finder is a form that finds by id; it shows what was looked for last.
export function finder(label, go, value = '') {
  const input = h('input', { id: 'find', type: 'text', value, autocomplete: 'off', spellcheck: 'false', size: 30 });
  return h('form', { class: 'filters', 'aria-label': 'Find one', onsubmit(e) { e.preventDefault(); if (input.value.trim()) go(input.value.trim()); } },
    h('div', { class: 'field' }, h('label', { for: 'find' }, label), input), h('div', { class: 'field buttons' }, h('button', { type: 'submit' }, 'Show')));
}

// entityHref leads to an entity. Parents are given where the id is unique under them only.
export function entityHref(source, kind, entityID, parents) {
  const [under] = Object.entries(parents ?? {});
  const query = under ? `?parent=${seg(under[0] + '/' + under[1])}` : '';
  return `#/entities/${seg(source)}/${seg(kind)}/${seg(entityID)}${query}`;
}

export const parentsText = (of) => Object.entries(of.parents ?? {}).map(([k, v]) => `${k}/${v}`).join(', ');

export const entityLink = (source, kind, entityID, parents) =>
  a(entityHref(source, kind, entityID, parents), h('span', { class: 'kind' }, kind), ' ', id(entityID));

// trace shows a trace: as a link where the api knows the address.
export function trace(of) {
  if (!of.trace_id) return quiet('not traced');
  let url;
  try {
    url = new URL(of.trace_url);
  } catch { /* none, or none that is an address */ }
  if (!url || !['http:', 'https:'].includes(url.protocol)) return id(of.trace_id);
  return h('a', { href: url.href, target: '_blank', rel: 'noopener noreferrer' }, id(of.trace_id), ' ↗');
}

export function button(label, onclick, { kind = '', key, disabled, title } = {}) {
  return h('button', { type: 'button', class: kind, onclick, 'data-key': key ?? label, disabled, title }, label);
}

// facts is a list of names and values; those without a value are left out.
export function facts(...pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(([, v]) => v !== null && v !== undefined && v !== '')
    .map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
}

// table has columns {name, cell(row), class}. On a narrow screen each row becomes a card
// that shows the names of the columns; roles keep it a table for screen readers.
export function table(caption, columns, rows) {
  const cell = (c, row) => {
    const content = c.cell(row);
    const none = !content || (Array.isArray(content) && content.length === 0);
    return h('td', { role: 'cell', 'data-label': c.name, class: [c.class, none && 'none'].filter(Boolean).join(' ') || null }, h('div', null, content));
  };
  return h('div', { class: 'scroll' }, h('table', { role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((c) => h('th', { role: 'columnheader', scope: 'col', class: c.class }, c.name)))),
    h('tbody', { role: 'rowgroup' }, rows.map((row) => h('tr', { role: 'row' }, columns.map((c) => cell(c, row)))))));
}

// figures is a column of numbers.
export const figures = (name, of) => ({ name, class: 'n', cell: (row) => f.number(of(row)) });

// loading is what load fills.
export const loading = () => h('div', null, aside('Loading …'));

export const empty = (title, ...text) => h('div', { class: 'empty' }, h('p', { class: 'strong' }, title), text.map((t) => h('p', null, t)));

export const noSource = () => empty('No source is configured', 'Add one to the settings: the guide to the configuration says how.');

// problem shows an error with what to do: what is wrong with which part of the request, or
// its title and detail.
export function problem(err, again) {
  if (!(err instanceof Problem)) throw err;
  return h('div', { class: 'problem', role: 'alert' },
    err.type === 'invalid'
      ? err.errors.map((e) => h('p', { class: 'strong' }, words.wrong(e)))
      : [h('p', { class: 'strong' }, err.status >= 400 ? `${err.title} (${err.status})` : err.title), h('p', null, err.detail)],
    h('p', { class: 'todo' }, words.remedy(err)),
    again && button('Try again', again));
}

export function code(raw, label) {
  return h('pre', { tabindex: 0, 'aria-label': label, role: 'region' }, pretty(raw));
}

// sides shows two states side by side: heads are the three columns, each row is a place and
// the text of its value on either side, undefined where there is none.
export function sides(label, heads, rows) {
  const half = (side, raw) => (raw === undefined
    ? h('span', { role: 'cell', class: `half ${side} quiet` }, 'not there')
    : h('code', { role: 'cell', class: `half ${side}` }, pretty(raw)));
  return h('div', { class: 'sides', role: 'table', 'aria-label': label },
    h('div', { role: 'row', class: 'row heads' }, heads.map((head) => h('span', { role: 'columnheader' }, head))),
    rows.map(([place, left, right]) => h('div', { role: 'row', class: 'row' },
      h('span', { role: 'cell', class: 'place' }, h('code', null, place)), half('left', left), half('right', right))));
}

// meter shows a share with its words.
export function meter(share, label) {
  const w = Math.round(Math.max(0, Math.min(1, share)) * 100);
  return h('span', { class: 'meter' },
    h('svg', { viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      h('rect', { class: 'track', width: 100, height: 8, rx: 4 }), h('rect', { class: 'fill', width: w, height: 8, rx: 4 })),
    h('span', null, label));
}

export function progress(done, total) {
  if (!total) return quiet(done ? f.number(done) : 'not begun');
  return meter(done / total, `${f.number(done)} of ${f.number(total)}`);
}

// head is the head of a page.
export function head(title, about, ...actions) {
  return h('div', { class: 'head' },
    h('div', null, h('h1', null, title), about && h('p', { class: 'about' }, about)),
    actions.length > 0 && h('div', { class: 'actions' }, actions));
}

export const section = (title, ...children) => h('section', null, h('h2', null, title), ...children);

// toast says in a line what was done.
export function toast(text, href, linkText) {
  const node = h('div', { class: 'toast' }, text, href && [' ', a(href, linkText)]);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), 8000);
}

// ofJob says that a job was started, and leads to it.
export const ofJob = (text, job) => [text, `#/work/jobs/${seg(job)}`, 'Show its progress'];

// load fills a node with what an async function makes, or with its problem.
export async function load(node, make, signal) {
  try {
    fill(node, await make());
  } catch (err) {
    if (signal?.aborted) return;
    fill(node, problem(err, () => load(node, make, signal)));
  }
}
