// Makes elements. What comes from outside becomes text or the value of an attribute:
// nothing here, or in any other module, turns text into markup.

const svgNames = new Set(['svg', 'path', 'polyline', 'line', 'rect', 'circle', 'title', 'g']);

// h makes an element. attrs: "on…" are listeners, true and false set or leave out an
// attribute, null leaves it out. Children are nodes, text, numbers, or arrays of these;
// null and false are left out.
export function h(name, attrs, ...children) {
  const node = svgNames.has(name) ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attrs ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'value') node.value = value;
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === '') continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

// fill replaces what a node holds. The element that had the focus gets it again, if the
// new content has one of the same data-key: a list that refreshes itself must not throw a
// reader back to its beginning.
export function fill(node, ...children) {
  const held = node.contains(document.activeElement) ? document.activeElement : null;
  const key = held?.dataset?.key;
  node.replaceChildren();
  add(node, children);
  if (key) [...node.querySelectorAll('[data-key]')].find((n) => n.dataset.key === key)?.focus({ preventScroll: true });
  return node;
}

// inUse reports whether a reader has selected text in a node, or has a dialog open: then
// the page does not refresh itself.
export function inUse(node) {
  const chosen = document.getSelection?.();
  return Boolean(document.querySelector('dialog') || (chosen && !chosen.isCollapsed && node.contains(chosen.anchorNode)));
}
