// The panel of a node that trains: samples, curves, figures, health and buttons of its run, by what the run's snapshot has.

import { steer } from "./api.js?v=0.1.0"
import { Chart, COLOURS, lastKnown } from "./chart.js?v=0.1.0"
import { element, showTabs, style, write } from "./elements.js?v=0.1.0"
import { Film } from "./film.js?v=0.1.0"
import { runOf } from "./run.js?v=0.1.0"
import { clock, filled, kimgOf, short } from "./texts.js?v=0.1.0"

const ACTIONS = ["finish", "save", "pause", "resume"]
const GIGABYTE = 1e9

export class Panel {
  // words: of texts.js. saveFilm: called with a run's name.
  constructor(words, saveFilm) {
    style("panel.css")
    this.words = words
    this.run = null
    this.said = ""
    this.error = ""
    this.axis = null
    this.explained = null // name of the value whose meaning is shown
    this.lines = []
    this.asked = new Set()
    this.listener = () => this.schedule()
    this.waiting = false
    this.draws = 0
    this.build(saveFilm)
    this.draw()
  }

  build(saveFilm) {
    const { words } = this
    const part = (className, ...children) => element("div", { className }, ...children)
    this.state = element("span", { className: "gan-state" })
    this.state.setAttribute("role", "status")
    this.title = element("span", { className: "gan-title" })
    this.left = element("span", { className: "gan-left" })
    this.head = part("gan-head", element("i", { className: "gan-dot" }), this.state, this.title, this.left)
    this.bar = element("div", { className: "gan-done" }, element("i"))
    this.bar.setAttribute("role", "progressbar")
    this.trouble = element("p", { className: "gan-trouble" })
    this.trouble.setAttribute("role", "alert")
    this.hint = element("p", { className: "gan-hint" })
    this.film = new Film(words)
    this.figures = part("gan-figures")
    this.health = element("p", { className: "gan-health" })
    this.tabs = part("gan-tabs")
    this.tabs.setAttribute("role", "tablist")
    this.canvas = element("canvas", { className: "gan-chart" })
    this.canvas.setAttribute("role", "img")
    this.chart = new Chart(this.canvas, words.axis)
    this.chart.onPoint = () => this.drawLegend()
    this.legend = part("gan-legend")
    this.meaning = element("p", { className: "gan-meaning" })
    this.curves = part("gan-curves", this.tabs, this.canvas, this.legend, this.meaning)
    this.buttons = Object.fromEntries(ACTIONS.map((action) => [action, this.button(action)]))
    this.save = element("button", { type: "button", className: "gan-button", title: words.filmHint }, words.film)
    this.save.addEventListener("click", () => saveFilm(this.run.name))
    this.note = element("span", { className: "gan-note" })
    this.actions = part("gan-actions", ...Object.values(this.buttons), this.save, this.note)
    this.kept = element("p", { className: "gan-kept" })
    this.remarks = element("ul")
    this.remarksTitle = element("summary")
    this.more = element("details", { className: "gan-remarks" }, this.remarksTitle, this.remarks)
    this.root = part(
      "gan-panel", this.head, this.bar, this.trouble, this.hint, part("gan-look", this.film.frame, this.figures),
      this.film.bar, this.health, this.curves, this.actions, this.kept, this.more,
    )
  }

  button(action) {
    const { words } = this
    const name = action === "finish" ? "gan-button gan-first" : "gan-button"
    const made = element("button", { type: "button", className: name, title: words[`${action}Hint`] }, words[action])
    made.addEventListener("click", () => this.ask(action))
    return made
  }

  async ask(action) {
    const { run } = this
    this.asked.add(action)
    this.draw()
    try {
      run.take(await steer(run.name, action))
    } catch (error) {
      this.asked.delete(action)
      this.error = error.message
    }
    this.draw()
    if (action === "finish") return
    setTimeout(() => {
      this.asked.delete(action)
      this.schedule()
    }, 2500)
  }

  // Shows the run of a name from now on; null for none.
  show(name) {
    if (name === (this.run?.name ?? null)) return
    this.run?.removeEventListener("change", this.listener)
    this.run = name === null ? null : runOf(name)
    this.run?.addEventListener("change", this.listener)
    this.asked.clear()
    this.error = ""
    this.axis = null
    this.schedule()
  }

  // What the node says itself, such as an error before its run has begun.
  say(text) {
    this.said = text
    this.schedule()
  }

  fail(message) {
    this.error = message
    this.schedule()
  }

  close() {
    this.film.pause()
    this.run?.removeEventListener("change", this.listener)
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
    this.draws += 1
    const snapshot = this.run && !this.run.missing ? this.run.snapshot : null
    const { classList } = this.root
    classList.toggle("gan-idle", !snapshot)
    if (snapshot) this.drawRun(snapshot)
    else this.drawIdle()
  }

  drawIdle() {
    this.root.dataset.state = this.error ? "error" : "idle"
    write(this.trouble, this.error)
    write(this.hint, this.error ? "" : this.said || this.words.waiting)
  }

  drawRun(snapshot) {
    const { words } = this
    const { state } = snapshot
    const failed = this.error && !snapshot.live
    this.root.dataset.state = failed && state !== "diverged" ? "error" : state
    write(this.state, words.states[this.root.dataset.state] ?? state)
    write(this.title, snapshot.run)
    write(this.left, this.leftOf(snapshot))
    const percent = Math.round(100 * (state === "finished early" ? 1 : snapshot.fraction ?? 0))
    this.bar.firstChild.style.width = `${percent}%`
    this.bar.setAttribute("aria-valuenow", percent)
    write(this.trouble, snapshot.trouble || this.error)
    write(this.hint, this.hintOf(snapshot))
    this.film.follow(this.run)
    this.drawFigures(snapshot)
    this.drawHealth(snapshot.health)
    this.drawCurves(snapshot)
    this.drawActions(snapshot)
    write(this.kept, snapshot.kept ? filled(words.kept, { kept: snapshot.kept }) : "")
    this.drawRemarks(snapshot.remarks ?? [])
  }

  leftOf({ state, seconds_left: seconds, fraction }) {
    if (!["running", "paused"].includes(state)) return ""
    return seconds == null ? `${Math.floor(100 * (fraction ?? 0))} %` : filled(this.words.left, { time: clock(seconds) })
  }

  hintOf({ state, run, images }) {
    if (state === "starting") return this.said || this.words.starting
    return state === "stopped" && images && !this.error ? filled(this.words.stopped, { run }) : ""
  }

  drawFigures(snapshot) {
    const { words } = this
    const { images, images_per_second: speed, memory } = snapshot
    const shown = [[words.shown, filled(words.kimg, { kimg: kimgOf(images ?? 0) })]]
    if (speed) shown.push([words.speed, short(speed)])
    if (memory && snapshot.live) {
      const [used, total] = [memory.used, memory.total].map((bytes) => (bytes / GIGABYTE).toFixed(1))
      shown.push([words.memory, filled(words.gigabytes, { used, total })])
    }
    while (this.figures.children.length < shown.length)
      this.figures.append(element("div", {}, element("span"), element("b")))
    while (this.figures.children.length > shown.length) this.figures.lastChild.remove()
    shown.forEach(([name, value], place) => {
      const [label, figure] = this.figures.children[place].children
      write(label, name)
      write(figure, value)
    })
  }

  drawHealth(health) {
    this.health.classList.toggle("gan-hidden", !health)
    if (!health) return
    this.health.dataset.word = health.word
    if (!this.health.firstChild) this.health.append(element("b"), element("span"))
    write(this.health.firstChild, this.words.health[health.word] ?? health.word)
    // What is wrong stands at the top already, as trouble.
    write(this.health.lastChild, ["early", "healthy"].includes(health.word) ? health.sentence : "")
  }

  drawCurves(snapshot) {
    const { records } = this.run
    const charts = (snapshot.charts ?? []).filter(({ values }) => values.some(({ name }) => name in records.values))
    this.curves.classList.toggle("gan-hidden", !charts.length)
    if (!charts.length) return
    const axes = charts.map(({ axis }) => axis)
    if (!axes.includes(this.axis)) this.axis = axes[0]
    const tabs = axes.map((axis) => ({ name: axis, label: this.nameOf(axis) }))
    showTabs(this.tabs, tabs, this.axis, (axis) => {
      this.axis = axis
      this.draw()
    })
    const { values } = charts.find(({ axis }) => axis === this.axis)
    this.lines = values
      .map((value, place) => ({ ...value, colour: COLOURS[place % COLOURS.length], values: records.values[value.name] }))
      .filter((line) => line.values)
    this.canvas.setAttribute("aria-label", filled(this.words.chart, { axis: this.nameOf(this.axis) }))
    this.chart.show(records.images, this.lines)
    this.drawLegend()
  }

  nameOf(axis) {
    return this.words.axes[axis] ?? axis
  }

  drawLegend() {
    const { lines, words } = this
    const names = lines.map(({ name }) => name).join("\n")
    if (this.legend.dataset.names !== names) {
      this.legend.dataset.names = names
      this.explained = lines[0].name
      this.legend.replaceChildren(...lines.map((line) => this.entry(line)))
    }
    lines.forEach(({ name, values }, place) => {
      const entry = this.legend.children[place]
      const value = lastKnown(values, this.chart.at ?? undefined)
      write(entry.lastChild, value === null ? words.unknown : short(value))
      entry.setAttribute("aria-pressed", String(name === this.explained))
    })
    const { name, meaning } = lines.find((line) => line.name === this.explained)
    write(this.meaning, words.meanings[name] ?? meaning)
  }

  // A line's colour, name and value; pointing at it shows what it means.
  entry({ name, label, meaning, colour }) {
    const { words } = this
    const swatch = element("i")
    swatch.style.background = colour
    const title = words.meanings[name] ?? meaning
    const parts = [swatch, element("span", {}, words.labels[name] ?? label), element("b")]
    const made = element("button", { type: "button", className: "gan-entry", title }, ...parts)
    const explain = () => {
      this.explained = name
      this.drawLegend()
    }
    for (const event of ["pointerenter", "focus", "click"]) made.addEventListener(event, explain)
    return made
  }

  drawActions({ live, state }) {
    const { buttons, words, asked } = this
    const shown = { finish: live, save: live, pause: live && state !== "paused", resume: live && state === "paused" }
    for (const action of ACTIONS) {
      buttons[action].classList.toggle("gan-hidden", !shown[action] || state === "starting")
      buttons[action].disabled = asked.has(action)
    }
    this.save.classList.toggle("gan-hidden", this.run.sheets.length < 2)
    write(this.note, live && asked.has("finish") ? words.finishing : live && asked.has("save") ? words.saved : "")
  }

  drawRemarks(remarks) {
    this.more.classList.toggle("gan-hidden", !remarks.length)
    const text = remarks.join("\n")
    if (this.remarks.dataset.text === text) return
    this.remarks.dataset.text = text
    write(this.remarksTitle, filled(this.words.remarks, { count: remarks.length }))
    this.remarks.replaceChildren(...remarks.map((remark) => element("li", {}, remark)))
  }
}
