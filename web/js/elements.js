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

// Shows tabs by their names, one of which is chosen. choose: told of the name of one that is clicked.
export function showTabs(place, tabs, chosen, choose) {
  const names = tabs.map(({ name }) => name).join("\n")
  if (place.dataset.names !== names) {
    place.dataset.names = names
    place.replaceChildren(...tabs.map((tab) => tabOf(tab, choose)))
  }
  for (const tab of place.children) tab.setAttribute("aria-selected", String(tab.dataset.name === chosen))
}

function tabOf({ name, label }, choose) {
  const made = element("button", { type: "button", className: "gan-tab" }, label)
  made.dataset.name = name
  made.setAttribute("role", "tab")
  made.addEventListener("click", () => choose(name))
  return made
}

const styled = new Set()

// Adds a stylesheet of this folder to the page, once.
export function style(file) {
  if (styled.has(file)) return
  styled.add(file)
  const href = new URL(`./${file}?v=0.1.0`, import.meta.url).href
  document.head.append(element("link", { rel: "stylesheet", href }))
}
