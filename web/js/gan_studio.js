// The panels of the nodes that train: which node shows which run, in the canvas and in Vue nodes.

import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"
import { listRuns, onTraining } from "./api.js?v=0.1.0"
import { isTrainer, nodeOf, nodesIn, set, widgetOf, words } from "./nodes.js?v=0.1.0"
import { Panel } from "./panel.js?v=0.1.0"
import { runOf } from "./run.js?v=0.1.0"

const WIDGET = "$$node-text-preview" // the name under which the page looks for what shows a node's text: the panel does
const RUN = "gan_studio_run" // the property of a node that names the run it shows, kept with the workflow
const WIDTH = 440
const HEIGHT = 680
const FILM_FPS = 12
const AROUND = 20 // that the canvas leaves around an element

const panels = new WeakMap() // node -> Panel

function addPanel(node) {
  const panel = new Panel(words(), (run) => saveFilm(node, run))
  panels.set(node, panel)
  const widget = node.addDOMWidget(WIDGET, "gan_studio_panel", panel.root, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => HEIGHT,
    getValue: () => panel.said,
    setValue: (text) => panel.say(String(text ?? "")),
  })
  widget.serialize = false
  node.hideOutputImages = true // the panel shows them, in Vue nodes ...
  node.onDrawBackground = () => {} // ... and on the canvas
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0], WIDTH), Math.max(height, node.size[1])])
  panel.root.style.minHeight = `${HEIGHT - AROUND}px` // for Vue nodes, whose other rows are higher
  passOn(panel.root)
  const removed = node.onRemoved
  node.onRemoved = function (...rest) {
    panel.close()
    return removed?.apply(this, rest)
  }
}

// On the canvas an element lies above it and would keep the wheel and the middle button from it.
function passOn(root) {
  const onCanvas = () => !window.LiteGraph?.vueNodesMode
  root.addEventListener("wheel", (event) => {
    const list = event.target.closest?.(".gan-remarks ul")
    if (list && list.scrollHeight > list.clientHeight) return event.stopPropagation()
    if (onCanvas()) app.canvas.processMouseWheel(event)
    return undefined
  })
  const middle = { pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" }
  for (const [name, process] of Object.entries(middle))
    root.addEventListener(name, (event) => {
      const held = name === "pointermove" ? event.buttons & 4 : event.button === 1
      if (held && onCanvas()) app.canvas[process](event)
      // In Vue nodes a press on the node drags it.
      else if (!held && event.target.closest?.("button, input, summary, ul, canvas")) event.stopPropagation()
    })
  root.addEventListener("keydown", (event) => event.stopPropagation())
}

function showRun(node, run) {
  if (node.properties[RUN] !== run) node.properties[RUN] = run
  panels.get(node)?.show(run)
}

// Whether a run may be that of a node: its name is the one that the node asks for, perhaps with a number.
function isNamed(node, run) {
  const wanted = widgetOf(node, "run_name")?.value
  return typeof wanted !== "string" || run === wanted || run.startsWith(`${wanted}_`)
}

// Name of the run that a node shows: the one that it resumes, or else the one that it has trained last.
function runShownBy(node) {
  const named = widgetOf(node, "resume")?.value === true ? widgetOf(node, "run_name")?.value : undefined
  return named ?? node.properties?.[RUN]
}

// A node that is asked to resume a run shows that one: another of its name, perhaps a later one, would hide it.
function followName(node) {
  for (const name of ["run_name", "resume"]) {
    const widget = widgetOf(node, name)
    const before = widget.callback
    widget.callback = function (...rest) {
      const answer = before?.apply(this, rest)
      showAgain(node)
      return answer
    }
  }
}

function showAgain(node) {
  const run = runShownBy(node)
  if (typeof run !== "string") return
  panels.get(node)?.show(run)
  runOf(run).refresh()
}

function hear(event) {
  runOf(event.run).hear(event)
  if (event.workflow != null && event.workflow !== (app.rootGraph ?? app.graph)?.id) return
  const node = nodeOf(event.node)
  if (isTrainer(node) && isNamed(node, event.run)) showRun(node, event.run)
}

// Nodes that save the film of a run, below all others.
function saveFilm(node, run) {
  const { graph } = node
  const below = 100 + Math.max(...graph.nodes.map(({ pos, size }) => pos[1] + size[1]))
  const load = window.LiteGraph.createNode("LoadGANRunSheets")
  const save = window.LiteGraph.createNode("SaveAnimatedWEBP")
  load.pos = [node.pos[0], below]
  save.pos = [node.pos[0] + load.size[0] + 60, below]
  graph.add(load)
  graph.add(save)
  set(load, "run", run)
  set(save, "fps", FILM_FPS)
  load.connect(0, save, 0)
  app.canvas.selectItems([load, save])
  app.canvas.centerOnNode(load)
}

// Shows on every node that trains the run that it showed when the workflow was kept, or that it is at work on now.
async function refresh() {
  for (const node of nodesIn(app.rootGraph ?? app.graph)) if (panels.has(node)) showAgain(node)
  const atWork = await listRuns(true).catch(() => []) // without a connection the next one asks again
  for (const event of atWork) hear(event)
}

app.registerExtension({
  name: "gan_studio.panel",
  setup() {
    onTraining(hear)
    api.addEventListener("execution_start", () => {
      for (const node of nodesIn(app.rootGraph ?? app.graph)) panels.get(node)?.fail("")
    })
    api.addEventListener("execution_error", ({ detail }) => {
      const node = nodeOf(detail.node_id)
      panels.get(node)?.fail(detail.exception_message.trim())
    })
    api.addEventListener("executed", ({ detail }) => {
      const node = nodeOf(detail.display_node ?? detail.node)
      const run = detail.output?.[RUN]?.[0] // also where it was trained before, and this Run found its result
      if (!panels.has(node) || typeof run !== "string") return
      showRun(node, run)
      runOf(run).refresh()
    })
    api.addEventListener("reconnected", refresh)
  },
  nodeCreated(node) {
    if (!isTrainer(node)) return
    addPanel(node)
    followName(node)
  },
  afterConfigureGraph: refresh,
})
