// The nodes of the graph that is open: which ones train, and what is done with them for a run.

import { app } from "../../../scripts/app.js"
import { wordsOf } from "./texts.js?v=0.1.0"

const MODULE = `custom_nodes.${decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3))}`
const GAP = 60 // between a new node and the others

// The words of the person's language.
export function words() {
  return wordsOf(app.extensionManager.setting.get("Comfy.Locale"))
}

// Whether a node trains: all that do are of this pack and have a name for the run.
export function isTrainer(node) {
  return trains(node?.constructor)
}

function trains(type) {
  const known = type?.nodeData
  return known?.python_module === MODULE && "run_name" in { ...known.input?.required, ...known.input?.optional }
}

// An execution id such as 12:3 is that of node 3 in subgraph 12.
export function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph
  let node = null
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(/^\d+$/.test(part) ? Number(part) : part)
    graph = node?.subgraph
  }
  return node
}

export function* nodesIn(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node
    if (node.subgraph) yield* nodesIn(node.subgraph)
  }
}

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name)
}

// Sets a widget of a node as a person would.
export function set(node, name, value) {
  const widget = widgetOf(node, name)
  widget.value = value
  widget.callback?.(value)
}

// Adds a node of a type to the graph that is open: in the middle of what is seen, or right of all others if one is there.
function add(type) {
  const { canvas } = app
  const node = window.LiteGraph.createNode(type)
  const [x, y, width, height] = canvas.visible_area
  node.pos = [x + (width - node.size[0]) / 2, y + (height - node.size[1]) / 2]
  const { nodes } = canvas.graph
  if (nodes.some((other) => covers(other, node))) node.pos[0] = GAP + Math.max(...nodes.map(({ pos, size }) => pos[0] + size[0]))
  canvas.graph.add(node)
  point(node)
  return node
}

function covers(one, other) {
  return [0, 1].every(
    (axis) => one.pos[axis] < other.pos[axis] + other.size[axis] + GAP && other.pos[axis] < one.pos[axis] + one.size[axis] + GAP,
  )
}

// Selects a node, and brings it into view.
function point(node) {
  app.canvas.selectItems([node])
  app.canvas.centerOnNode(node)
  app.canvas.setDirty(true, true)
}

// Sets a node to continue a run: the one that is selected, or the only one that has the run's preset, or a new one.
// Returns it, and whether it is new; null where no node has such a preset.
export function continueRun(run, preset) {
  const types = Object.values(window.LiteGraph.registered_node_types).filter(trains)
  const type = types.find(({ nodeData }) => presetsOf(nodeData).includes(preset))
  if (!type) return null
  const there = app.canvas.graph.nodes.filter((node) => node.type === type.type)
  const selected = there.filter((node) => app.canvas.selectedItems?.has(node))
  const [found] = selected.length === 1 ? selected : there.length === 1 ? there : []
  const node = found ?? add(type.type)
  set(node, "preset", preset)
  set(node, "run_name", run)
  set(node, "resume", true)
  point(node)
  return { node, isNew: !found }
}

function presetsOf({ input }) {
  const [kind, options] = input?.required?.preset ?? []
  return Array.isArray(kind) ? kind : (options?.options ?? [])
}

// Adds Load Generator with a file, which the page's list may not have yet.
export function addLoader(file) {
  const node = add("LoadGenerator")
  const { options } = widgetOf(node, "name")
  if (!options.values.includes(file)) options.values = [file, ...options.values]
  set(node, "name", file)
  return node
}
