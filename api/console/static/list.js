// A page with filters and a list. The filters are in the address, so a list can be kept
// as a bookmark and the browser's back works.

import { h, fill, inUse } from './dom.js';
import { getText } from './api.js';
import { rawAt } from './json.js';
import { button, empty, problem, table } from './parts.js';
import { clock } from './format.js';

// list shows a list.
//
//   page     what app.js gives a page
//   path     the api's path; a function of the filters, if it depends on them
//   filters  {name, label, options | list, hint}
//   columns  of the table
//   caption  what the list has, for screen readers
//   nothing  what is shown if there is none: (filters) => node
//   also     nodes between filters and list: (filters, refresh) => nodes
//   watch    a figure of the live summary: the first page is loaded again when it changes
export function list({ page, path, filters, fixed, columns, caption, nothing, also, watch }) {
  const chosen = () => Object.fromEntries(filters.map((x) => [x.name, page.query.get(x.name) ?? '']).filter(([, v]) => v));
  const now = chosen();
  const body = h('div', { class: 'list' }, h('p', { class: 'quiet' }, 'Loading …'));
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
    fill(body, rows.length > 0 ? table(caption, columns, rows) : next ? empty('None on this page', 'Others may follow: load more.') : nothing(now));
    fill(foot,
      h('span', { class: 'quiet' }, `${rows.length}${next ? ' or more' : ''}, as of ${clock(new Date())}`),
      next && button('Load more', () => read(next), { key: 'more' }),
      button('Refresh', () => read(), { key: 'refresh' }));
  }

  read();
  if (watch) {
    let seen;
    page.onLive((live) => {
      if (!live.now || inUse(body)) return;
      const value = JSON.stringify(watch(live.now));
      if (seen !== undefined && value !== seen && !more) read();
      seen = value;
    });
  }
  return [filterForm(page, filters, now), also && also(now, () => read()), body, foot];
}

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
