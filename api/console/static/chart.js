// Small charts: a line over the last minutes, with its figures in words.

import { h } from './dom.js';

const width = 200, height = 44, pad = 2;

// spark draws points (numbers, oldest first) as a line over an area. It is decoration for
// those who see it; words say the same for all.
export function spark(values, words) {
  const box = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', class: 'spark', role: 'img', 'aria-label': words };
  if (values.length < 2) return h('svg', box, h('line', { x1: 0, y1: height - pad, x2: width, y2: height - pad, class: 'zero' }));
  const top = Math.max(...values, 1e-9);
  const x = (i) => (i / (values.length - 1)) * width;
  const y = (v) => height - pad - (v / top) * (height - 2 * pad - 2);
  const line = values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  return h('svg', box,
    h('path', { class: 'area', d: `M0,${height} L${line.replaceAll(' ', ' L')} L${width},${height} Z` }),
    h('polyline', { class: 'line', points: line }));
}

// bars draws classes {label, count} as horizontal bars.
export function bars(classes) {
  const top = Math.max(1, ...classes.map((c) => c.count));
  return h('ul', { class: 'bars' }, classes.map((c) => h('li', { class: c.tone ?? '' },
    h('span', { class: 'name' }, c.label),
    h('svg', { viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      h('rect', { class: 'track', width: 100, height: 8, rx: 2 }),
      c.count > 0 && h('rect', { class: 'fill', width: Math.max(1, (c.count / top) * 100).toFixed(1), height: 8, rx: 2 })),
    h('span', { class: 'count' }, c.text))));
}
