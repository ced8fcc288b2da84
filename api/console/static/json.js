// Shows JSON as the provider wrote it. JSON.parse would turn 1.10 into 1.1 and round
// long ids, so the text itself is cut and laid out, token by token.

const token = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+)/y;

// reader steps through the tokens of a JSON text.
function reader(text) {
  let at = 0;
  const look = () => {
    token.lastIndex = at;
    const m = token.exec(text);
    return m ? { t: m[1], end: token.lastIndex } : { t: '', end: text.length };
  };
  return {
    peek: () => look().t,
    next() {
      const { t, end } = look();
      at = end;
      return t;
    },
    // whole returns the text of the value that begins here.
    whole() {
      const from = at;
      let depth = 0;
      do {
        const t = this.next();
        if (t === '{' || t === '[') depth++;
        if (t === '}' || t === ']') depth--;
        if (t === '') break;
      } while (depth > 0);
      return text.slice(from, at).trim();
    },
  };
}

// rawAt returns the text of the value at a path of names and indexes, or undefined.
export function rawAt(text, path) {
  const r = reader(text);
  for (const step of path) {
    const open = r.next();
    if (open !== '{' && open !== '[') return undefined;
    for (let i = 0; ; i++) {
      if (r.peek() === '}' || r.peek() === ']') return undefined;
      let name = i;
      if (open === '{') {
        name = JSON.parse(r.next());
        r.next(); // the colon
      }
      if (name === step) break;
      r.whole();
      if (r.next() !== ',') return undefined;
    }
  }
  return r.whole();
}

// pretty lays JSON text out, two spaces a level. Every token stays as it is.
export function pretty(text) {
  const r = reader(text), out = [];
  let depth = 0, before = '';
  for (let t = r.next(); t !== ''; t = r.next()) {
    if (t === '}' || t === ']') {
      depth--;
      if (before !== '{' && before !== '[') out.push('\n', '  '.repeat(depth));
      out.push(t);
    } else {
      if (before === '{' || before === '[' || before === ',') out.push('\n', '  '.repeat(depth));
      out.push(t === ':' ? ': ' : t);
      if (t === '{' || t === '[') depth++;
    }
    before = t;
  }
  return out.join('');
}
