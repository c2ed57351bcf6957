// Two runs side by side: their curves over each other, and the same seeds of both.

import { Chart, COLOURS, lastKnown } from "./chart.js?v=0.1.0"
import { element, showTabs, style, write } from "./elements.js?v=0.1.0"
import { Film } from "./film.js?v=0.1.0"
import { runOf } from "./run.js?v=0.1.0"
import { filled, short } from "./texts.js?v=0.1.0"

// Opens a window that compares two runs, by their names.
export function compare(names, words) {
  const comparison = new Comparison(names, words)
  document.body.append(comparison.root)
  comparison.root.showModal()
  comparison.load()
}

class Comparison {
  constructor(names, words) {
    style("panel.css")
    style("runs.css")
    this.words = words
    this.runs = names.map((name) => runOf(name))
    this.value = null // name of the value that is drawn
    this.films = names.map(() => new Film(words))
    this.listener = () => this.schedule()
    this.waiting = false
    this.build()
    for (const run of this.runs) run.addEventListener("change", this.listener)
  }

  build() {
    const { words } = this
    const part = (className, ...children) => element("div", { className }, ...children)
    const close = element("button", { type: "button", className: "gan-button" }, words.runs.close)
    close.addEventListener("click", () => this.root.close())
    this.tabs = part("gan-tabs")
    this.tabs.setAttribute("role", "tablist")
    this.canvas = element("canvas", { className: "gan-chart" })
    this.canvas.setAttribute("role", "img")
    this.chart = new Chart(this.canvas, words.axis)
    this.chart.onPoint = () => this.drawLegend()
    this.meaning = element("p", { className: "gan-meaning" })
    this.hint = element("p", { className: "gan-hint" })
    this.legend = part("gan-legend")
    this.sides = this.runs.map((run, place) => {
      const swatch = element("i")
      swatch.style.background = COLOURS[place]
      const name = element("p", { className: "gan-entry" }, swatch, element("b", {}, run.name))
      return part("gan-side", name, this.films[place].frame, this.films[place].bar)
    })
    this.root = element(
      "dialog",
      { className: "gan-compare" },
      part("gan-head", element("b", {}, words.runs.compareTitle), close),
      this.hint, this.tabs, this.canvas, this.legend, this.meaning, part("gan-sides", ...this.sides),
    )
    this.root.setAttribute("aria-label", words.runs.compareTitle)
    this.root.addEventListener("close", () => this.close())
    this.root.addEventListener("keydown", (event) => event.stopPropagation()) // it is not a shortcut of the graph's
  }

  async load() {
    await Promise.all(this.runs.map((run) => run.refresh()))
    this.schedule()
  }

  close() {
    for (const run of this.runs) run.removeEventListener("change", this.listener)
    for (const film of this.films) film.pause()
    this.root.remove()
  }

  schedule() {
    if (this.waiting) return
    this.waiting = true
    requestAnimationFrame(() => {
      this.waiting = false
      this.draw()
    })
  }

  draw() {
    const { words, runs } = this
    runs.forEach((run, place) => run.snapshot && this.films[place].follow(run))
    const values = this.shared()
    write(this.hint, values.length ? "" : words.runs.nothingShared)
    for (const part of [this.canvas, this.meaning, this.legend]) part.classList.toggle("gan-hidden", !values.length)
    if (!values.length) return
    if (!values.some(({ name }) => name === this.value)) this.value = values[0].name
    const tabs = values.map(({ name, label }) => ({ name, label: words.labels[name] ?? label }))
    showTabs(this.tabs, tabs, this.value, (name) => {
      this.value = name
      this.draw()
    })
    const { name, label, meaning } = values.find((value) => value.name === this.value)
    write(this.meaning, words.meanings[name] ?? meaning)
    this.canvas.setAttribute("aria-label", filled(words.chart, { axis: words.labels[name] ?? label }))
    const { images, lines } = over(runs.map((run) => run.records), name)
    this.lines = lines.map((line, place) => ({ ...line, colour: COLOURS[place] }))
    this.chart.show(images, this.lines)
    this.drawLegend()
  }

  // The values that both runs have measured: KID first, as it compares, then in the order of their charts.
  shared() {
    const described = (this.runs[0].snapshot?.charts ?? []).flatMap((chart) => chart.values)
    const found = described.filter(({ name }) => this.runs.every((run) => run.records.values[name]))
    return [...found.filter(({ name }) => name === "kid"), ...found.filter(({ name }) => name !== "kid")]
  }

  drawLegend() {
    while (this.legend.children.length < this.runs.length) {
      const swatch = element("i")
      swatch.style.background = COLOURS[this.legend.children.length]
      const name = element("span", {}, this.runs[this.legend.children.length].name)
      this.legend.append(element("span", { className: "gan-entry" }, swatch, name, element("b")))
    }
    this.lines.forEach(({ values, end }, place) => {
      const value = this.chart.at > end ? null : lastKnown(values, this.chart.at ?? undefined)
      write(this.legend.children[place].lastChild, value === null ? this.words.unknown : short(value))
    })
  }
}

// The values of a name of several runs over the images that any of them has a point at, ascending, with null elsewhere;
// and the index of each run's last point.
function over(records, name) {
  const images = [...new Set(records.flatMap((record) => record.images))].sort((a, b) => a - b)
  const place = new Map(images.map((number, at) => [number, at]))
  const lines = records.map((record) => {
    const values = new Array(images.length).fill(null)
    record.images.forEach((number, at) => (values[place.get(number)] = record.values[name]?.[at] ?? null))
    return { values, end: place.get(record.images.at(-1)) }
  })
  return { images, lines }
}
