// The tab "GAN runs" of the sidebar: every run in output/gan/runs, and what can be done with it.

import { app } from "../../../scripts/app.js"
import { getGraph, listRuns, onTraining, sheetAddress, trash } from "./api.js?v=0.1.0"
import { compare } from "./compare.js?v=0.1.0"
import { element, style, write } from "./elements.js?v=0.1.0"
import { addLoader, continueRun, words } from "./nodes.js?v=0.1.0"
import { runOf } from "./run.js?v=0.1.0"
import { filled, kimgOf, short } from "./texts.js?v=0.1.0"

const TAB = "gan_studio.runs"
const LIST_EVERY = 30_000 // milliseconds: the list reads the folders of all runs

class RunsTab {
  constructor() {
    style("panel.css")
    style("runs.css")
    this.words = words()
    this.runs = null // as the server lists them; null until it has
    this.cards = new Map() // name -> Card
    this.chosen = [] // names of those to compare, two at most
    this.fetching = false
    this.refreshed = -Infinity
    this.build()
    this.refresh()
  }

  build() {
    const told = this.words.runs
    this.compare = button(told.compare, told.compareHint, () => compare(this.chosen, this.words))
    const again = button(told.refresh, told.refreshHint, () => this.refresh())
    this.hint = element("p", { className: "gan-hint" })
    this.hint.setAttribute("role", "status")
    this.list = element("ul", { className: "gan-list" })
    const head = element("div", { className: "gan-head" }, element("b", {}, told.title), this.compare, again)
    this.root = element("div", { className: "gan-runs" }, head, this.hint, this.list)
    this.root.addEventListener("keydown", (event) => event.stopPropagation())
    this.draw()
  }

  async refresh() {
    if (this.fetching) return
    this.fetching = true
    try {
      this.runs = await listRuns()
      this.refreshed = performance.now()
      this.error = ""
    } catch (error) {
      this.error = error.message
    }
    this.fetching = false
    if (this.runs) window.dispatchEvent(new CustomEvent("gan_studio.runs", { detail: this.runs.map(({ run }) => run) }))
    this.draw()
  }

  // What is told of a training each second. The rest, such as its KID, comes with the list.
  hear(event) {
    const known = this.runs?.find(({ run }) => run === event.run)
    if (!known || known.live !== event.live || performance.now() - this.refreshed > LIST_EVERY) return this.refresh()
    Object.assign(known, event)
    return this.draw()
  }

  draw() {
    const told = this.words.runs
    write(this.hint, this.error || (this.runs === null ? "" : this.runs.length ? "" : told.empty))
    this.chosen = this.chosen.filter((name) => this.runs?.some(({ run }) => run === name))
    this.compare.disabled = this.chosen.length < 2
    const cards = (this.runs ?? []).map((run) => {
      if (!this.cards.has(run.run)) this.cards.set(run.run, new Card(run.run, this))
      const card = this.cards.get(run.run)
      card.draw(run)
      return card.root
    })
    if (cards.length !== this.list.children.length || cards.some((card, place) => this.list.children[place] !== card))
      this.list.replaceChildren(...cards)
  }

  choose(name) {
    if (this.chosen.includes(name)) this.chosen = this.chosen.filter((other) => other !== name)
    else this.chosen = [...this.chosen.slice(-1), name]
    this.draw()
  }

  // Does something that may fail, and says how it went.
  async attempt(action) {
    try {
      const detail = await action()
      if (detail) app.extensionManager.toast.add({ severity: "success", summary: this.words.runs.title, detail, life: 8000 })
    } catch (error) {
      const summary = this.words.runs.title
      app.extensionManager.toast.add({ severity: "warn", summary, detail: error.message, life: 10_000 })
    }
  }
}

class Card {
  constructor(name, tab) {
    this.name = name
    this.tab = tab
    this.words = tab.words
    const told = this.words.runs
    this.picture = element("img", { alt: "", loading: "lazy", draggable: false })
    this.thumbnail = element("div", { className: "gan-thumbnail" }, this.picture)
    this.state = element("span", { className: "gan-state" })
    this.facts = element("p")
    this.kid = element("p")
    this.trouble = element("p", { className: "gan-trouble" })
    this.goOn = button(told.goOn, told.goOnHint, () => tab.attempt(() => this.continue()))
    this.load = button(told.load, told.loadHint, () => tab.attempt(() => this.loadGenerator()))
    this.open = button(told.graph, told.graphHint, () => tab.attempt(() => this.openGraph()))
    this.chosen = button(told.choose, told.chooseHint, () => tab.choose(name))
    this.trash = button(told.trash, told.trashHint, () => tab.attempt(() => this.putAway()))
    this.trash.classList.add("gan-last")
    const title = element("b", { className: "gan-name", title: name }, name)
    const head = element("div", { className: "gan-head" }, title, element("i", { className: "gan-dot" }), this.state)
    const about = element("div", { className: "gan-about" }, head, this.facts, this.kid)
    const actions = element(
      "div", { className: "gan-actions" }, this.goOn, this.load, this.open, this.chosen, this.trash,
    )
    const look = element("div", { className: "gan-look" }, this.thumbnail, about)
    this.root = element("li", { className: "gan-card" }, look, this.trouble, actions)
  }

  draw(run) {
    const told = this.words.runs
    this.run = run
    this.root.dataset.state = run.state
    this.root.dataset.run = run.run
    const address = run.sheet === null ? "" : sheetAddress(run.run, run.sheet)
    if (this.picture.getAttribute("src") !== address) this.picture.setAttribute("src", address)
    this.thumbnail.classList.toggle("gan-empty", !address)
    write(this.state, this.words.states[run.state] ?? told.unreadable)
    const when = run.live ? "" : whenChanged(run.changed)
    const images = run.images === undefined ? "" : filled(this.words.kimg, { kimg: kimgOf(run.images) })
    write(this.facts, [run.preset, images, when].filter(Boolean).join(" · "))
    write(this.kid, run.kid ? this.kidInWords(run) : "")
    write(this.trouble, ["diverged", "unreadable"].includes(run.state) ? (run.trouble ?? "") : "")
    this.goOn.disabled = run.live || !run.preset
    this.load.disabled = !run.generator
    this.open.disabled = !run.graph
    this.trash.disabled = Boolean(run.live)
    this.chosen.setAttribute("aria-pressed", String(this.tab.chosen.includes(run.run)))
  }

  // The latest KID with its age, and the best where that is another.
  kidInWords({ kid: { latest, best }, images }) {
    const told = this.words.runs
    const age = images - latest.images
    const parts = [filled(age > 0 ? told.kidAged : told.kid, { kid: short(latest.value), kimg: kimgOf(age) })]
    if (best && best.images !== latest.images)
      parts.push(filled(told.best, { kid: short(best.value), kimg: kimgOf(best.images) }))
    return parts.join(" · ")
  }

  continue() {
    const told = this.words.runs
    const found = continueRun(this.name, this.run.preset)
    if (!found) throw new Error(filled(told.noNode, { preset: this.run.preset }))
    return filled(found.isNew ? told.goesOnNew : told.goesOn, { node: found.node.title, run: this.name })
  }

  loadGenerator() {
    addLoader(this.run.generator)
  }

  async openGraph() {
    const { workflow, prompt } = await getGraph(this.name)
    if (workflow) await app.loadGraphData(workflow, true, true, this.name)
    else await app.loadApiJson(prompt, this.name)
  }

  async putAway() {
    const told = this.words.runs
    const sure = await app.extensionManager.dialog.confirm({
      title: told.trashTitle,
      message: filled(told.trashMessage, { run: this.name }),
    })
    if (!sure) return ""
    const { kept } = await trash(this.name)
    this.tab.cards.delete(this.name)
    runOf(this.name).refresh() // for the panels that show it
    await this.tab.refresh()
    return filled(told.trashed, { kept })
  }
}

// seconds: since 1970.
function whenChanged(seconds) {
  const locale = app.extensionManager.setting.get("Comfy.Locale") ?? []
  return new Date(1000 * seconds).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" })
}

function button(text, hint, act) {
  const made = element("button", { type: "button", className: "gan-button", title: hint }, text)
  made.addEventListener("click", act)
  return made
}

let tab = null // while it is open

app.registerExtension({
  name: "gan_studio.runs",
  setup() {
    const told = words().runs
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: "pi pi-images",
      title: told.title,
      tooltip: told.title,
      type: "custom",
      render(place) {
        if (tab?.root.parentElement === place) return // the page renders it again as it likes
        tab = new RunsTab()
        place.classList.add("gan-runs-place")
        place.replaceChildren(tab.root)
      },
      destroy() {
        tab = null
      },
    })
    onTraining((event) => tab?.hear(event))
  },
})
