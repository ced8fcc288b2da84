// Times, durations and numbers as people read them.

const numbers = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
export const number = (n) => numbers.format(n);

export function plural(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

export const entities = (n) => plural(n, 'entity', 'entities');

// length is a duration, from seconds.
export function length(s) {
  if (s < 0) return 'less than 0 s';
  if (s === 0) return '0 s';
  if (s < 0.0995) return `${number(s * 1000)} ms`;
  if (s < 0.9995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${number(s)} s`;
  if (s < 90 && s !== 60) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${number(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const millis = (ms) => length(ms / 1000);

export const between = (from, to) => (new Date(to) - new Date(from)) / 1000;

// ago is a time as seen from now.
export function ago(time, now = Date.now()) {
  const s = (now - new Date(time)) / 1000;
  if (Math.abs(s) < 1.5) return 'just now';
  return s > 0 ? `${length(s)} ago` : `in ${length(-s)}`;
}

const pad = (n, width = 2) => String(n).padStart(width, '0');

// clock is a time of today, or a date with a time, in the reader's zone.
export function clock(time) {
  const t = new Date(time), today = new Date();
  const hour = `${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}`;
  if (t.toDateString() === today.toDateString()) return hour;
  return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())} ${hour}`;
}

// full is the whole local date with its zone, and in UTC as filters take it.
export const full = (time) => `${new Date(time)}\n${new Date(time).toISOString()}`;

// exact is a time with its milliseconds.
export function exact(time) {
  const t = new Date(time);
  return `${clock(time)}.${pad(t.getMilliseconds(), 3)}`;
}
