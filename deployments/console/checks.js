// Returns what is wrong with the page as it is shown: text of too little contrast (WCAG 2.2,
// 1.4.3: 4.5, and 3 for large text), ids that are there twice, labels that lead nowhere,
// headings that are skipped, and a page wider than the screen.
() => {
  const wrong = [];
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = '#000';
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const behind = (node) => {
    const layers = [];
    for (let n = node; n; n = n.parentElement) {
      const color = rgba(getComputedStyle(n).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((below, above) => over(above, below), [255, 255, 255, 1]);
  };
  const light = ([r, g, b]) => {
    const part = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const contrast = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility?.() || node.closest('.unseen, noscript, script, style, option, button:disabled')) continue;
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const back = behind(node), ratio = contrast(over(rgba(style.color), back), back);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)} of "${text.data.trim().slice(0, 40)}" (${node.className})`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((n) => n.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push(`the id ${id} is there twice`);
  for (const label of document.querySelectorAll('label[for]')) if (!document.getElementById(label.htmlFor)) wrong.push(`a label leads to ${label.htmlFor}`);
  let level = 0;
  for (const heading of document.querySelectorAll('main :is(h1, h2, h3, h4)')) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) wrong.push(`the heading "${heading.textContent}" skips a level`);
    level = now;
  }
  if (document.querySelectorAll('h1').length !== 1) wrong.push('there is not one h1');
  const page = document.scrollingElement;
  if (page.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll('main *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1).slice(0, 3);
    wrong.push(`the page is ${page.scrollWidth} wide on ${innerWidth}: ${wide.map((n) => `${n.tagName}.${n.className} ${n.textContent.slice(0, 30)}`).join('; ')}`);
  }
  for (const foreign of document.querySelectorAll('main :is(img, script, iframe, object, style)')) wrong.push(`markup of a foreign text: ${foreign.outerHTML}`);
  if (window.hacked) wrong.push('a foreign text ran as code');
  return wrong;
}
