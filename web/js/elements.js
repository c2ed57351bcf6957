// Elements of the page, made in one call. Texts are never read as HTML.

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

// Sets a text only where it is another one, so that nothing is laid out again and no screen reader repeats it.
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text
}

const styled = new Set()

// Adds a stylesheet of this folder to the page, once.
export function style(file) {
  if (styled.has(file)) return
  styled.add(file)
  const href = new URL(`./${file}?v=0.1.0`, import.meta.url).href
  document.head.append(element("link", { rel: "stylesheet", href }))
}
