// A page with filters and a list. The filters are in the address, so a list can be kept
// as a bookmark and the browser's back works.

import { h, fill, inUse } from './dom.js';
import { getText, live } from './api.js';
import { rawAt } from './json.js';
import { aside, button, empty, problem, quiet, table } from './parts.js';
import { clock } from './format.js';

// list shows a list.
//
//   page     what app.js gives a page
//   path     the api's path; a function of the filters, if it depends on them
//   filters  {name, label, options | list, hint}
//   columns  of the table
//   caption  what the list has, for screen readers
//   usual    the filter that links to the page set: with it alone nothing is narrowed
//   nothing  title and text of what is shown if there is none
//   also     nodes between filters and list, hidden while there is none: (filters) => nodes
//   watch    a figure of the live summary: the first page is loaded again when it changes
//   due      reports whether a row is about to change: then each summary loads the page again
export function list({ page, path, filters, fixed, columns, caption, usual, nothing, also, watch, due }) {
  const chosen = () => Object.fromEntries(filters.map((x) => [x.name, page.query.get(x.name) ?? '']).filter(([, v]) => v));
  const now = chosen();
  const body = h('div', { class: 'list' }, aside('Loading …'));
  const acts = h('div', { hidden: true }, also?.(now));
  const foot = h('div', { class: 'foot' });
  let rows = [], next = '', more = false, busy = false;

  async function read(cursor) {
    if (busy) return;
    busy = true;
    try {
      const { value: answer, text } = await getText(typeof path === 'function' ? path(now) : path, { ...fixed, ...now, cursor, limit: 50 }, page.signal);
      withRaw(answer.items, text);
      rows = cursor ? [...rows, ...answer.items] : answer.items;
      next = answer.next_cursor ?? '';
      more = Boolean(cursor);
      draw();
    } catch (err) {
      if (page.signal.aborted) return;
      fill(body, problem(err, () => read()));
      fill(foot);
    } finally {
      busy = false;
    }
  }

  function draw() {
    acts.hidden = rows.length === 0 && !next;
    fill(body, rows.length > 0 ? table(caption, columns, rows)
      : next ? empty('None on this page', 'Others may follow: load more.')
        : Object.keys(now).some((name) => name !== usual) ? empty('None is like this', 'Take a filter away.') : empty(...nothing));
    fill(foot,
      quiet(`${rows.length}${next ? ' or more' : ''}, as of ${clock(new Date())}`),
      next && button('Load more', () => read(next), { key: 'more' }),
      button('Refresh', () => read(), { key: 'refresh' }));
  }

  read();
  if (watch) {
    let seen;
    page.onLive((live) => {
      if (!live.now || inUse(body)) return;
      const value = JSON.stringify(watch(live.now));
      if (!more && (seen !== undefined && value !== seen || due && rows.some(due))) read();
      seen = value;
    });
  }
  page.reload = () => read();
  return [filterForm(page, filters, now), acts, body, foot];
}

// The filters that several lists have.
export const sourceOptions = () => live.hello?.sources.map((s) => s.source) ?? [];
export const bySource = () => ({ name: 'source', label: 'Source', options: sourceOptions() });
export const byStatus = (table) => ({ name: 'status', label: 'Status', options: Object.keys(table) });
export const byKind = (label = 'Kind') => ({ name: 'kind', label, options: [...new Set(live.hello?.sources.flatMap((s) => s.kinds) ?? [])].sort() });
export const byEntity = (label = 'Entity') => ({ name: 'entity', label, hint: 'source/kind/id', size: 22 });
export const byTime = (label = 'From') => [{ name: 'from', label, hint: '2026-03-01T12:00:00Z', size: 20 }, { name: 'to', label: 'To', hint: '2026-03-02T12:00:00Z', size: 20 }];

// withRaw gives each row a way to the text of its values, which has every digit.
export function withRaw(items, text) {
  items.forEach((item, i) => { item.raw = (path) => rawAt(text, ['items', i, ...path]); });
  return items;
}

// filterForm puts the filters into the address.
function filterForm(page, filters, now) {
  const fields = filters.map((x) => [x, field(x, now[x.name] ?? '')]);
  const go = () => page.go(page.path, Object.fromEntries(fields.map(([x, node]) => [x.name, node.value.trim()])));
  const form = h('form', { class: 'filters', 'aria-label': 'Filters', onsubmit: (e) => { e.preventDefault(); go(); } },
    fields.map(([x, node]) => h('div', { class: 'field' }, h('label', { for: node.id }, x.label), node)),
    h('div', { class: 'field buttons' },
      h('button', { type: 'submit', 'data-key': 'filter' }, 'Filter'),
      Object.keys(now).length > 0 && button('Clear', () => page.go(page.path), { kind: 'plain' })));
  for (const [, node] of fields) if (node.tagName === 'SELECT') node.addEventListener('change', go);
  return form;
}

function field(x, value) {
  const attrs = { id: `filter-${x.name}`, name: x.name, 'data-key': `filter-${x.name}` };
  if (!x.options) return h('input', { ...attrs, type: 'text', value, placeholder: x.hint ?? '', autocomplete: 'off', spellcheck: 'false', size: x.size ?? 14 });
  const options = x.options.map((o) => (Array.isArray(o) ? o : [o, o]));
  if (value && !options.some(([v]) => v === value)) options.push([value, value]);
  return h('select', attrs, h('option', { value: '' }, x.any ?? 'any'), options.map(([v, label]) => h('option', { value: v, selected: v === value }, label)));
}
