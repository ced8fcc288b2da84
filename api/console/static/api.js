// Requests to the api. The token is kept in memory and in sessionStorage, which ends
// with the tab, and is sent in a header only.

const base = new URL('../', import.meta.url);
const tokenKey = 'tarn.token';

let token = sessionStorage.getItem(tokenKey) ?? '';
export const hasToken = () => token !== '';
export function useToken(text) {
  token = text;
  if (text) sessionStorage.setItem(tokenKey, text);
  else sessionStorage.removeItem(tokenKey);
}

// Problem is an answer that is an error, or the lack of one.
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? 'no answer');
    this.status = status;
    this.title = body.title ?? '';
    this.detail = body.detail ?? '';
    this.type = (body.type ?? '').replace('urn:tarn:problem:', '');
    this.errors = body.errors ?? [];
    this.candidates = body.candidates ?? [];
    this.parked = body.parked;
    this.erased = body.erased;
    this.retryAfter = body.retryAfter;
  }
}

function address(path, query) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

async function send(method, path, { query, body, signal, accept } = {}) {
  const headers = { Accept: accept ?? 'application/json' };
  if (token) headers.Authorization = 'Bearer ' + token;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(address(path, query), {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer',
    });
  } catch (err) {
    if (signal?.aborted) throw err;
    throw new Problem(0, { title: 'No answer', detail: 'the api cannot be reached from this browser' });
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch { /* not the api's own: a proxy's page */ }
  return new Problem(answer.status, { title: answer.statusText || 'HTTP ' + answer.status, ...body, retryAfter: answer.headers.get('Retry-After') });
}

// get returns the answer's value and its text: numbers keep their digits only in the text.
export async function getText(path, query, signal) {
  const text = await (await send('GET', path, { query, signal })).text();
  return { text, value: JSON.parse(text) };
}

export const get = async (path, query, signal) => (await getText(path, query, signal)).value;

// act sends what changes something. It returns the answer's value, and with it whether it
// was accepted: what is answered 200 where others are accepted was there before.
export async function act(method, path, body, query) {
  const answer = await send(method, path, { body, query });
  const text = await answer.text();
  return { ...(text && JSON.parse(text)), accepted: answer.status === 202 };
}

// seg is a step of a path.
export const seg = (text) => encodeURIComponent(text).replace(/[!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16).toUpperCase());

export const entityPath = (source, kind, id) => `v1/entities/${seg(source)}/${seg(kind)}/${seg(id)}`;

// Live follows /v1/live. It is fetched, since EventSource cannot send a token. While the
// page is hidden the connection is closed, so that it costs the api nothing.
class Live {
  constructor() {
    this.hello = null;
    this.now = null;
    this.points = [];
    this.state = 'off';
    this.problem = null;
    this.wants = false;
    this.stop = null;
    this.listeners = new Set();
    document.addEventListener('visibilitychange', () => this.turn());
  }

  // on calls fn for each change until signal is aborted.
  on(fn, signal) {
    this.listeners.add(fn);
    signal?.addEventListener('abort', () => this.listeners.delete(fn));
  }

  start() { this.wants = true; this.turn(); }

  end() { this.wants = false; this.turn(); this.hello = this.now = null; this.points = []; }

  turn() {
    const run = this.wants && !document.hidden;
    if (run && !this.stop) {
      this.stop = new AbortController();
      this.run(this.stop.signal);
    } else if (!run && this.stop) {
      this.stop.abort();
      this.stop = null;
      this.say('off');
    }
  }

  say(state, problem = null) {
    this.state = state;
    this.problem = problem;
    for (const fn of [...this.listeners]) fn(this);
  }

  async run(signal) {
    for (let tries = 0; !signal.aborted; tries++) {
      try {
        const answer = await send('GET', 'v1/live', { signal, accept: 'text/event-stream' });
        await this.read(answer.body, () => { tries = 0; });
        this.say('lost');
      } catch (err) {
        if (signal.aborted) return;
        this.say('lost', err instanceof Problem ? err : null);
        if (err.status === 401 || err.status === 403) { this.stop = null; return; }
      }
      await new Promise((done) => setTimeout(done, Math.min(10000, 500 * 2 ** Math.min(tries, 6))));
    }
  }

  async read(stream, good) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split('\n\n');
      rest = parts.pop();
      for (const part of parts) this.take(part, good);
    }
  }

  take(part, good) {
    let event = '', data = '';
    for (const line of part.split('\n')) {
      if (line.startsWith('event: ')) event = line.slice(7);
      if (line.startsWith('data: ')) data += line.slice(6);
    }
    if (!event) return; // a comment
    good();
    const value = JSON.parse(data);
    if (event === 'hello') this.hello = value;
    if (event === 'past') this.points = value.points;
    if (event === 'now') {
      this.now = value;
      this.points = [...this.points.slice(-149), pointOf(value)];
    }
    this.say('live');
  }
}

function pointOf(n) {
  const sum = (o) => Object.values(o).reduce((a, b) => a + b, 0);
  return {
    at: n.at, received_per_s: n.flow.received_per_s, p50_ms: n.flow.p50_ms, p99_ms: n.flow.p99_ms,
    backlog: n.backlog.live + n.backlog.background, parked: n.backlog.parked,
    letters: sum(n.letters), drift: n.drift.confirmed + n.drift.failed,
  };
}

export const live = new Live();

// mayAct reports whether the token is an operator's.
export const mayAct = () => live.hello?.role === 'operator';
